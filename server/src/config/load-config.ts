/**
 * Puts the configuration together. Precedence: flags > environment (`SKERRY_…`) > file > default. A value that is not valid is
 * reported with the place it came from, since a wrong setting is often not where the reader looks first.
 */
import { SkerryError } from '../errors/skerry-error.ts';
import { type Config, configSchema } from './config.ts';
import { type Environment, readConfigFile } from './config-file.ts';
import { findOrRememberExtraCaFile } from './extra-ca.ts';
import { describeSettings, type Setting } from './settings.ts';

export interface ConfigSources {
  /** Flags only, without the program: `--port 7000`, `--port=7000`, `--config FILE`. */
  readonly argv: readonly string[];
  readonly env: Environment;
  /** Overrides where the file is looked for; a `--config` flag overrides this. It must exist. */
  readonly configFile?: string;
}

type Given = Map<Setting['key'], { readonly value: unknown; readonly source: string }>;

const invalid = (message: string) => new SkerryError('invalid-argument', message);

/**
 * The configuration a server runs with. `extraCaFile` is a path or empty in it: what `auto` and `none` come to on this machine.
 * @throws SkerryError `invalid-argument` naming the setting and where it was given
 */
export function loadConfig({ argv, env, configFile }: ConfigSources): Config {
  const settings = describeSettings();
  const { flags, file } = readFlags(settings, argv);
  refusePassword(flags.get('databaseUrl')?.value);
  const given: Given = new Map([
    ...readFile(settings, env, file ?? configFile),
    ...readEnvironment(settings, env),
    ...flags,
  ]);
  const result = configSchema.safeParse(
    Object.fromEntries([...given].map(([key, { value }]) => [key, value])),
  );
  if (result.success) return { ...result.data, extraCaFile: extraCaFileOf(result.data, env) };
  const shown = ({ key }: Setting, value: unknown) =>
    MAY_BE_SECRET.has(key) ? 'the value' : JSON.stringify(value);
  const lines = result.error.issues.map((issue) => {
    const setting = settings.find(({ key }) => key === issue.path[0]);
    const from = setting && given.get(setting.key);
    if (!setting || !from) return issue.message;
    return `${from.source}: ${shown(setting, from.value)} is not a valid ${setting.key} (${setting.description}): ${issue.message}`;
  });
  throw invalid(lines.join('\n'));
}

/** No message has what is given for these. */
const MAY_BE_SECRET: ReadonlySet<Setting['key']> = new Set(['databaseUrl']);

/** What a program was started with, everybody on the machine can read. */
function refusePassword(url: unknown): void {
  if (typeof url !== 'string' || !/^[a-z]+:\/\/[^/?]*:[^/?]*@|[?&](?:ssl)?password=/.test(url)) return;
  throw invalid(
    'Flag --database-url has a password, which everybody on this machine could read: give the URL as SKERRY_DATABASE_URL or in the configuration file.',
  );
}

function extraCaFileOf({ extraCaFile, dataDir }: Config, env: Environment): string {
  switch (extraCaFile) {
    case 'auto':
      return findOrRememberExtraCaFile(env, dataDir) ?? '';
    case 'none':
      return '';
    default:
      return extraCaFile;
  }
}

const splitList = (text: string): string[] =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');

const fromText = (setting: Setting, text: string): unknown => (setting.isList ? splitList(text) : text);

function readFlags(settings: readonly Setting[], argv: readonly string[]): { flags: Given; file?: string } {
  const flags: Given = new Map();
  let file: string | undefined;
  for (let index = 0; index < argv.length; index++) {
    const word = argv[index] ?? '';
    const [name = '', ...rest] = word.split('=');
    const setting = settings.find(({ flag }) => flag === name);
    if (!setting && name !== '--config') throw invalid(`Unknown flag ${name}.${suggestion(settings, name)}`);
    const value = rest.length > 0 ? rest.join('=') : argv[++index];
    if (value === undefined) throw invalid(`Flag ${name} needs a value.`);
    if (setting) flags.set(setting.key, { value: fromText(setting, value), source: `flag ${name}` });
    else file = value;
  }
  return file === undefined ? { flags } : { flags, file };
}

/** Variables that are set but empty count as not set, as shells cannot easily tell the two apart. */
function readEnvironment(settings: readonly Setting[], env: Environment): Given {
  const given: Given = new Map();
  for (const setting of settings) {
    const text = env[setting.variable];
    if (text)
      given.set(setting.key, { value: fromText(setting, text), source: `variable ${setting.variable}` });
  }
  return given;
}

function readFile(settings: readonly Setting[], env: Environment, explicit: string | undefined): Given {
  const file = readConfigFile(env, explicit);
  if (!file) return new Map();
  const { path, content } = file;
  const given: Given = new Map();
  for (const [name, value] of Object.entries(content)) {
    const setting = settings.find(({ key }) => key === name);
    if (!setting) {
      const keys = settings.map(({ key }) => key).join(', ');
      throw invalid(`Configuration file ${path}: unknown setting "${name}". There are: ${keys}.`);
    }
    given.set(setting.key, { value, source: `file ${path}` });
  }
  return given;
}

/** The flag that was probably meant: one that contains what was typed, or begins like it. */
function suggestion(settings: readonly Setting[], name: string): string {
  const word = name.replace(/^-+/, '');
  const near = settings.filter(
    ({ flag }) => word.length > 2 && (flag.includes(word) || flag.startsWith(name.slice(0, 5))),
  );
  return near.length > 0 ? ` Did you mean ${near.map(({ flag }) => flag).join(' or ')}?` : '';
}
