/**
 * FIFOs and sockets in a tree of files that is copied. gVisor keeps the FIFOs of a sandbox in its own memory, so they are shown to the copy for as long as it
 * takes; a socket means nothing without the program that listens on it.
 */
import { type BigIntStats, lstatSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Cleanup } from '../../platform/cleanup.ts';
import { run } from '../../platform/command.ts';
import type { Fifo } from '../engine.ts';

/**
 * Makes FIFOs in the mounted root filesystem of an instance that is paused; `cleanup` takes them away again. One whose path leads through anything but
 * directories, or is taken, is left out: what the sandbox says is not trusted.
 */
export async function showFifos(root: string, fifos: readonly Fifo[], cleanup: Cleanup): Promise<void> {
  for (const fifo of fifos) {
    const path = placeIn(root, fifo.path);
    if (path === undefined) continue;
    const restoreTimes = timesOf(dirname(path));
    cleanup.add('FIFO', async () => {
      await rm(path, { force: true });
      await restoreTimes();
    });
    await run(['mkfifo', '--', path]);
    await run(['chown', '-h', '--', `${fifo.uid}:${fifo.gid}`, path]);
    await run(['chmod', '--', fifo.mode.toString(8).padStart(4, '0'), path]);
    await touch(path, fifo.mtime);
    await touch(dirname(path), fifo.directoryMtime);
  }
}

/** The FIFOs of layers. A layer never changes, so each is looked through once. */
export class LayerFifos {
  readonly #known = new Map<string, Promise<readonly string[]>>();

  /** Absolute paths, also of those that a layer above hides. */
  async in(layers: readonly string[]): Promise<readonly string[]> {
    const found = await Promise.all(
      layers.map((layer) => {
        const known = this.#known.get(layer) ?? findFifos(layer);
        this.#known.set(layer, known);
        known.catch(() => this.#known.delete(layer)); // the next one asks again
        return known;
      }),
    );
    return [...new Set(found.flat())];
  }
}

async function findFifos(layer: string): Promise<readonly string[]> {
  const { stdout } = await run(['find', layer, '-type', 'p', '-printf', '/%P\\0']);
  return stdout.split('\0').filter((path) => path !== '');
}

/** Removes the sockets of a tree that nobody uses. */
export async function removeSockets(directory: string): Promise<void> {
  const { stdout } = await run(['find', directory, '-type', 's', '-print0'], { timeoutMs: 10 * 60_000 });
  for (const path of stdout.split('\0').filter((each) => each !== '')) {
    const restoreTimes = timesOf(dirname(path));
    await rm(path, { force: true });
    await restoreTimes();
  }
}

/** The path on the host, when nothing is there and all above it are directories. */
function placeIn(root: string, path: string): string | undefined {
  const parts = path.split('/').slice(1);
  if (parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('\0')))
    return undefined;
  let host = root;
  for (const part of parts.slice(0, -1)) {
    host = join(host, part);
    if (!lstatOf(host)?.isDirectory()) return undefined;
  }
  host = join(host, parts.at(-1) ?? '');
  return lstatOf(host) ? undefined : host;
}

/** Remembers when a directory was changed; the result sets that again. */
function timesOf(directory: string): () => Promise<void> {
  const meta = lstatOf(directory);
  if (!meta) return async () => {};
  const [sign, nanoseconds] = meta.mtimeNs < 0n ? ['-', -meta.mtimeNs] : ['', meta.mtimeNs];
  const fraction = String(nanoseconds % 1_000_000_000n).padStart(9, '0');
  const mtime = `${sign}${nanoseconds / 1_000_000_000n}.${fraction}`;
  return () => touch(directory, mtime);
}

const lstatOf = (path: string): BigIntStats | undefined =>
  lstatSync(path, { bigint: true, throwIfNoEntry: false });

/** Node's own functions know no nanoseconds. */
const touch = async (path: string, mtime: string): Promise<void> => {
  await run(['touch', '-h', '-m', '-d', `@${mtime}`, '--', path]);
};
