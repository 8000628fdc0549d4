/** The settings of `config.ts` as a table: what each is called as a flag and as a variable, for help texts and docs. */
import { type Config, configSchema } from './config.ts';
import { belowHome } from './data-dir.ts';

export interface Setting {
  readonly key: keyof Config;
  /** `--data-dir` */
  readonly flag: string;
  /** `SKERRY_DATA_DIR` */
  readonly variable: string;
  readonly description: string;
  /** A list is given comma-separated in flags and variables, as an array in the file. */
  readonly isList: boolean;
  /** The choices of an enumeration, else undefined. */
  readonly choices: readonly string[] | undefined;
  /** The default as a reader would write it, the same in every environment: below `~` where it depends on the home directory. */
  readonly defaultText: string;
}

/** `defaultMemoryMiB` to `default-memory-mib`. */
export const kebabCase = (key: string): string =>
  key
    .replaceAll('MiB', 'Mib')
    .replace(/[A-Z]/g, (letter) => `-${letter}`)
    .toLowerCase();

// Object.keys is typed string[]; the keys of the schema's shape are the keys of Config by construction.
const keys = Object.keys(configSchema.shape) as (keyof Config)[];

/** Every setting, in the schema's order. */
export function describeSettings(): readonly Setting[] {
  const defaults = configSchema.parse({});
  return keys.map((key) => {
    const inner = configSchema.shape[key].unwrap();
    const value = defaults[key];
    return {
      key,
      flag: `--${kebabCase(key)}`,
      variable: `SKERRY_${kebabCase(key).replaceAll('-', '_').toUpperCase()}`,
      description: configSchema.shape[key].description ?? '',
      isList: inner.type === 'array',
      choices: inner.type === 'enum' ? inner.options : undefined,
      defaultText: belowHome(Array.isArray(value) ? value.join(',') : String(value)),
    };
  });
}
