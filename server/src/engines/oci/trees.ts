/** The program of `trees/`: trees of files are copied while programs write to them, and mounted in the namespaces of processes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { SkerryError } from '../../errors/skerry-error.ts';
import { baseEnvironment, run } from '../../platform/command.ts';

/** A mount in the mount namespace of a process. */
export interface ShownTree {
  /** The kernel's number of it. */
  readonly id: string;
  /** Where it is there, without links. */
  readonly place: string;
}

/** What is copied: the writable layer of an overlay, with where that is mounted, or a directory as a process sees it. */
export type TreeSource =
  | { readonly upper: string; readonly overlay: string }
  | { readonly pid: number; readonly path: string };

/** Exit codes of the program, and of the agent's `bind`, by whose fault it is. */
const faults = new Map([
  [3, 'invalid-argument'],
  [4, 'not-found'],
  [5, 'disk-full'],
] as const);
type Faults = typeof faults extends Map<infer Code, unknown> ? Code : never;
export const faultCodes: readonly number[] = [...faults.keys()];

/** What the exit code of one of the programs says. */
export function treeError(code: number | null, words: string): SkerryError {
  const said = words.trim().slice(0, 1000);
  const fault = faults.get(code as Faults); // any number may be asked for
  if (fault === 'disk-full')
    return new SkerryError('disk-full', 'The machine is out of disk space for a copy of the files.');
  return new SkerryError(fault ?? 'internal', said || `The program for trees of files ended with ${code}.`);
}

export class Trees {
  readonly #binary: string;

  constructor(binary: string) {
    this.#binary = binary;
  }

  /** Mounts a directory at a path that a sandbox's caller chose. @throws SkerryError `invalid-argument` for the path */
  show(directory: string, pid: number, path: string): Promise<ShownTree> {
    return this.#mount('show', directory, pid, path);
  }

  /** The same at a path of ours. */
  attach(directory: string, pid: number, path: string): Promise<ShownTree> {
    return this.#mount('attach', directory, pid, path);
  }

  async hide(pid: number, id: string): Promise<void> {
    await run([this.#binary, 'hide', String(pid), id]);
  }

  async #mount(how: string, directory: string, pid: number, path: string): Promise<ShownTree> {
    const argv = [this.#binary, how, directory, String(pid), path] as const;
    const { code, stdout, stderr } = await run(argv, { okCodes: faultCodes });
    if (code !== 0) throw treeError(code, stderr);
    const [id = '', ...rest] = stdout.split(' ');
    return { id, place: rest.join(' ') };
  }

  /**
   * Copies a tree as it is at one moment into an empty directory. While programs run most of it is copied; then `still` is called, which has everything stand still,
   * calls `take` once and lets it go on. When it resolves the copy is on disk.
   * @throws SkerryError `invalid-argument`, `not-found` (the path), `disk-full`, `internal`; what `still` throws; the signal's reason
   */
  async copy(
    source: TreeSource,
    target: string,
    still: (take: () => Promise<void>) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    signal.throwIfAborted();
    const argv =
      'upper' in source
        ? ['copy', source.upper, target, source.overlay]
        : ['copy-inside', String(source.pid), source.path, target];
    const child = spawn(this.#binary, argv, { env: baseEnvironment(), stdio: 'pipe' });
    const kill = () => child.kill('SIGKILL');
    signal.addEventListener('abort', kill, { once: true });
    child.stdin.on('error', () => {}); // its status tells
    const words = text(child.stderr);
    const ended = once(child, 'close');
    ended.catch(() => {}); // awaited below
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const hear = async (word: string): Promise<void> => {
      const { value } = await lines.next();
      if (value === word) return;
      const [code] = await ended;
      throw treeError(code, await words);
    };
    try {
      await hear('ready');
      await still(async () => {
        child.stdin.write('final\n');
        await hear('done');
      });
      child.stdin.end();
      const [code] = await ended;
      if (code !== 0) throw treeError(code, await words);
    } catch (error) {
      kill();
      await ended.catch(() => {});
      signal.throwIfAborted();
      throw error;
    } finally {
      signal.removeEventListener('abort', kill);
    }
  }
}
