/** `RUN --mount=...` (https://docs.docker.com/reference/dockerfile/#run---mount). Variables are expanded while building, like those of other flags. */
import type { MountOwner, RunMount } from './instruction.ts';

type Fail = (problem: string) => never;

/** Options of each type beside `type`, in Docker's spellings. */
const known: Readonly<Record<string, readonly string[]>> = {
  bind: ['target', 'source', 'from', 'rw'],
  cache: ['target', 'id', 'sharing', 'from', 'source', 'mode', 'uid', 'gid', 'ro'],
  tmpfs: ['target', 'size'],
  secret: ['target', 'id', 'env', 'required', 'mode', 'uid', 'gid'],
};

const synonyms: Readonly<Record<string, string>> = {
  dst: 'target',
  destination: 'target',
  src: 'source',
  readwrite: 'rw',
  readonly: 'ro',
};

/** Reads one `--mount` value; `fail` reports what is wrong with it or not supported. Undefined: one that need not be there, and is not. */
export function parseRunMount(value: string, fail: Fail): RunMount | undefined {
  const options = new Map(
    value
      .replace(/^(["'])(.*)\1$/, '$2')
      .split(',')
      .map((part) => {
        const at = part.indexOf('=');
        const name = (at < 0 ? part : part.slice(0, at)).toLowerCase();
        return [synonyms[name] ?? name, at < 0 ? 'true' : part.slice(at + 1)];
      }),
  );
  const type = options.get('type') ?? 'bind';
  if (type === 'ssh') {
    // As in a build without `--ssh`: there is nothing to show, which only a mount that is required minds.
    if (!flag(options, 'required', fail)) return undefined;
    fail(
      'RUN --mount=type=ssh,required is not supported: no client forwards an agent; pass a key as a secret',
    );
  }
  const allowed = Object.hasOwn(known, type)
    ? known[type]
    : fail(`\`${type.slice(0, 40)}\` is no type of mount: it is bind, cache, tmpfs or secret`);
  for (const name of options.keys()) {
    if (name !== 'type' && !allowed?.includes(name) && !(type === 'bind' && name === 'ro')) {
      fail(`RUN --mount=type=${type} has no option \`${name.slice(0, 40)}\` (known: ${allowed?.join(', ')})`);
    }
  }
  const target = options.get('target');
  const from = options.get('from');
  const source = options.get('source') ?? '';
  switch (type) {
    case 'bind':
      return {
        type: 'bind',
        target: target ?? fail('RUN --mount=type=bind needs a target'),
        ...{ from, source },
        readOnly: !flag(options, 'rw', fail),
      };
    case 'secret': {
      const id =
        options.get('id') ?? target?.split('/').at(-1) ?? fail('RUN --mount=type=secret needs an id');
      const env = options.get('env');
      return {
        type: 'secret',
        id,
        // In a variable alone unless a file is asked for as well.
        target: target ?? (env === undefined ? `/run/secrets/${id}` : undefined),
        env,
        required: flag(options, 'required', fail),
        ...owner(options, 0o400, fail),
      };
    }
    default: {
      const place = target ?? fail(`RUN --mount=type=${type} needs a target`);
      // A cache shared between builds would let one tenant's build change another's, so each step gets its own, empty or with what `from` has.
      return from === undefined
        ? { type: 'scratch', target: place, ...owner(options, 0o755, fail) }
        : { type: 'bind', target: place, from, source, readOnly: flag(options, 'ro', fail) };
    }
  }
}

function flag(options: ReadonlyMap<string, string>, name: string, fail: Fail): boolean {
  const value = options.get(name) ?? 'false';
  if (/^(true|1)$/i.test(value)) return true;
  return /^(false|0)$/i.test(value) ? false : fail(`\`${name}\` of a mount is true or false`);
}

function owner(options: ReadonlyMap<string, string>, defaultMode: number, fail: Fail): MountOwner {
  const number = (name: string, radix: 8 | 10, otherwise: number): number => {
    const text = options.get(name);
    if (text === undefined) return otherwise;
    if (!(radix === 8 ? /^[0-7]{1,5}$/ : /^\d{1,9}$/).test(text)) fail(`\`${name}\` of a mount is a number`);
    return Number.parseInt(text, radix);
  };
  return {
    mode: number('mode', 8, defaultMode) & 0o7777,
    uid: number('uid', 10, 0),
    gid: number('gid', 10, 0),
  };
}
