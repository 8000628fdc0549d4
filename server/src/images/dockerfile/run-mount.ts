/** `RUN --mount=...` (https://docs.docker.com/reference/dockerfile/#run---mount). Its variables have values only while building, so it is read twice. */
import type { MountOwner, RunMount, WrittenMount } from './instruction.ts';

type Fail = (problem: string) => never;

/** Options of each type beside `type`, in Docker's spellings. */
const known: Readonly<Record<string, readonly string[]>> = {
  bind: ['target', 'source', 'from', 'rw', 'ro'],
  cache: ['target', 'id', 'sharing', 'from', 'source', 'mode', 'uid', 'gid', 'rw', 'ro'],
  tmpfs: ['target', 'size', 'rw', 'ro'],
  secret: ['target', 'id', 'source', 'env', 'required', 'mode', 'uid', 'gid'],
  ssh: ['target', 'id', 'required', 'mode', 'uid', 'gid'],
};

const synonyms: Readonly<Record<string, string>> = {
  dst: 'target',
  destination: 'target',
  src: 'source',
  readwrite: 'rw',
  readonly: 'ro',
};

/** Reads one `--mount` value; `fail` reports what is wrong with it or not supported, whatever its variables will be. */
export function parseRunMount(value: string, fail: Fail): WrittenMount {
  const options = new Map(
    value.split(',').map((part) => {
      const at = part.indexOf('=');
      const name = (at < 0 ? part : part.slice(0, at)).toLowerCase();
      return [synonyms[name] ?? name, at < 0 ? 'true' : part.slice(at + 1)];
    }),
  );
  const type = options.get('type') ?? 'bind';
  const allowed = Object.hasOwn(known, type)
    ? known[type]
    : fail(`\`${type.slice(0, 40)}\` is no type of mount: it is bind, cache, tmpfs, secret or ssh`);
  for (const name of options.keys()) {
    if (name !== 'type' && !allowed?.includes(name)) {
      fail(`RUN --mount=type=${type} has no option \`${name.slice(0, 40)}\` (known: ${allowed?.join(', ')})`);
    }
  }
  const mount = { type, options };
  readRunMount(mount, (word) => (word.includes('$') ? undefined : word), fail);
  return mount;
}

/**
 * The mount with the values of its variables; undefined for one that need not be there, and is not.
 * @param expand undefined for what is not known yet, which is taken for what can be
 */
export function readRunMount(
  { type, options }: WrittenMount,
  expand: (word: string) => string | undefined,
  fail: Fail,
): RunMount | undefined {
  const get = (name: string): string | undefined => {
    const word = options.get(name);
    return word === undefined ? undefined : expand(word);
  };
  const flag = (name: string): boolean => {
    const value = get(name) ?? 'false';
    if (/^(true|1)$/i.test(value)) return true;
    return /^(false|0)$/i.test(value) ? false : fail(`\`${name}\` of a mount is true or false`);
  };
  const number = (name: string, radix: 8 | 10, otherwise: number): number => {
    const text = get(name);
    if (text === undefined) return otherwise;
    if (!(radix === 8 ? /^[0-7]{1,5}$/ : /^\d{1,9}$/).test(text)) fail(`\`${name}\` of a mount is a number`);
    return Number.parseInt(text, radix);
  };
  const owner = (mode: number): MountOwner => ({
    mode: number('mode', 8, mode) & 0o7777,
    uid: number('uid', 10, 0),
    gid: number('gid', 10, 0),
  });
  // Without one, and where it is relative, it is the working directory or below that.
  const target = get('target') ?? '';
  const from = get('from');
  const source = get('source') ?? '';
  switch (type) {
    case 'ssh':
      // As in a build without `--ssh`: there is nothing to show, which only a mount that is required minds.
      if (!flag('required')) return undefined;
      return fail(
        'RUN --mount=type=ssh,required is not supported: no client forwards an agent; pass a key as a secret',
      );
    case 'bind':
      return {
        type,
        target,
        from,
        source,
        readOnly: options.has('rw') ? !flag('rw') : !options.has('ro') || flag('ro'),
      };
    case 'secret': {
      const written = options.get('source') ?? options.get('id') ?? options.get('target')?.split('/').at(-1);
      if (options.has('source') && options.has('id'))
        fail('RUN --mount=type=secret has a source or an id, not both');
      const id =
        written === undefined ? fail('RUN --mount=type=secret needs an id') : (expand(written) ?? '');
      const env = get('env');
      const inVariable = options.has('env') && !options.has('target');
      return {
        type,
        id,
        // In a variable alone unless a file is asked for as well.
        target: target || (inVariable ? undefined : `/run/secrets/${id.split('/').at(-1)}`),
        env,
        required: flag('required'),
        ...owner(0o400),
      };
    }
    default:
      // A cache shared between builds would let one tenant's build change another's, so each step gets its own, empty or with what `from` has.
      return from === undefined
        ? { type: 'scratch', target, ...owner(0o755) }
        : { type: 'bind', target, from, source, readOnly: flag('ro') };
  }
}
