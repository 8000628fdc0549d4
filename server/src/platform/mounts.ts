/**
 * What Skerry mounts is nobody else's business: nothing here changes how the machine's own mounts propagate, and nothing mounted here appears in
 * another mount namespace. See mount_namespaces(7).
 */
import { readFile } from 'node:fs/promises';
import { run } from './command.ts';

/**
 * The command in a mount namespace of its own, which nothing leads out of: for programs that mount, or that change how mounts propagate (mmdebstrap from
 * 1.5 on makes all mounts of its namespace private). What it mounts is gone with its last process.
 */
export const inOwnMountNamespace = (argv: readonly [string, ...string[]]): [string, ...string[]] => [
  'unshare',
  '--mount',
  '--propagation',
  'private',
  '--',
  ...argv,
];

/** One line of /proc/self/mountinfo, proc_pid_mountinfo(5). */
interface Mount {
  readonly path: string;
  /** Whether what is mounted on it appears elsewhere too. */
  readonly shared: boolean;
}

/**
 * Makes an existing directory a private mount of itself, so that mounts made in it exist once, whoever has a mount namespace beside ours. Under systemd all
 * mounts are shared; namespaces held under a shared `/run` cannot be let go of once somebody made a copy private. Idempotent. Does nothing when something is
 * mounted in it already, which it would hide: then it stays as it is until the machine is restarted or everything in it is gone.
 */
export async function makePrivateMount(directory: string): Promise<void> {
  const mounts = await readMounts();
  const own = mounts.filter(({ path }) => path === directory);
  if (own.length === 0) {
    if (mounts.some(({ path }) => path.startsWith(`${directory}/`))) return;
    await run(['mount', '-n', '--bind', '--make-private', directory, directory]);
  } else if (own.some(({ shared }) => shared)) {
    await run(['mount', '-n', '--make-private', directory]);
  }
}

/** Takes back what `makePrivateMount` did. Nothing may be mounted in it any more. Idempotent. */
export async function removePrivateMount(directory: string): Promise<void> {
  const mounts = await readMounts();
  if (mounts.some(({ path }) => path === directory)) await unmount([directory]);
}

/** Paths of everything mounted below `directory`, innermost last. */
export async function mountsBelow(directory: string): Promise<string[]> {
  return (await readMounts()).map(({ path }) => path).filter((path) => path.startsWith(`${directory}/`));
}

/** Unmounts everything below `directory`; nothing to do is fine. */
export async function unmountBelow(directory: string): Promise<void> {
  await unmount((await mountsBelow(directory)).reverse());
}

/** Unmounts these. What something still looks at (a process on the host in that directory) the kernel lets go of when that leaves. */
export async function unmount(paths: readonly string[]): Promise<void> {
  if (paths.length === 0) return;
  const { code } = await run(['umount', '-n', ...paths], { okCodes: [1, 32, 64] });
  if (code === 0) return;
  const there = new Set((await readMounts()).map(({ path }) => path));
  const rest = paths.filter((path) => there.has(path));
  if (rest.length > 0) await run(['umount', '-n', '-l', ...rest]);
}

async function readMounts(): Promise<Mount[]> {
  const text = await readFile('/proc/self/mountinfo', 'utf8');
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const words = line.split(' ');
      // After the sixth word come optional ones, up to a dash.
      const optional = words.slice(6, words.indexOf('-', 6));
      return {
        path: unescapeMount(words[4] ?? ''),
        shared: optional.some((word) => word.startsWith('shared:')),
      };
    });
}

/** Spaces and backslashes are octal escapes in /proc/self/mountinfo, proc(5). */
const unescapeMount = (path: string): string =>
  path.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
