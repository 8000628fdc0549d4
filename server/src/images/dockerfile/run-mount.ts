/** `RUN --mount=...` (https://docs.docker.com/reference/dockerfile/#run---mount). */
import type { RunMount } from './instruction.ts';

/** Reads one `--mount` value; `fail` reports what is wrong with it or not supported. */
export function parseRunMount(value: string, fail: (problem: string) => never): RunMount {
  const options = new Map(
    value
      .replace(/^(["'])(.*)\1$/, '$2')
      .split(',')
      .map((part) => {
        const at = part.indexOf('=');
        return at < 0 ? [part, 'true'] : [part.slice(0, at), part.slice(at + 1)];
      }),
  );
  const type = options.get('type') ?? 'bind';
  const target = options.get('target') ?? options.get('dst') ?? options.get('destination');
  switch (type) {
    // A cache shared between builds would let one tenant's build change another's, so each step gets an empty one.
    case 'cache':
    case 'tmpfs':
      return {
        type: 'scratch',
        target: absolute(target ?? fail(`RUN --mount=type=${type} needs a target`), fail),
      };
    case 'secret': {
      const id =
        options.get('id') ?? target?.split('/').at(-1) ?? fail('RUN --mount=type=secret needs an id');
      const required = options.get('required') === 'true';
      return { type: 'secret', id, target: absolute(target ?? `/run/secrets/${id}`, fail), required };
    }
    default:
      return fail(`RUN --mount=type=${type} is not supported (cache, tmpfs and secret are); use COPY`);
  }
}

function absolute(path: string, fail: (problem: string) => never): string {
  const parts = path.split('/');
  if (!path.startsWith('/') || parts.includes('..') || parts.every((part) => part === '' || part === '.')) {
    fail(`the target \`${path.slice(0, 200)}\` of a mount must be an absolute path below /`);
  }
  return path;
}
