/** Brings others' writes into a working tree while its sandbox may change it. */
import { randomBytes } from 'node:crypto';
import { type BigIntStats, constants } from 'node:fs';
import {
  copyFile,
  lchown,
  lutimes,
  mkdir,
  open,
  readlink,
  rename,
  rmdir,
  symlink,
  unlink,
} from 'node:fs/promises';
import type { Beneath } from '../platform/beneath.ts';
import { raw } from '../platform/byte-paths.ts';
import type { Leaf, Node } from './layer-tree.ts';
import type { VolumePath } from './paths.ts';
import { entryOf, keyOf, markOf, type TreeState } from './tree-state.ts';

export class Reload {
  readonly #shown: Beneath;
  readonly #upper: Beneath;
  readonly #state: TreeState;

  /**
   * @param shown what the sandbox sees @param upper what is its own of that
   * @param state of the last commit; what comes from others is added, so that it is no change of the sandbox's
   */
  constructor(shown: Beneath, upper: Beneath, state: TreeState) {
    this.#shown = shown;
    this.#upper = upper;
    this.#state = state;
  }

  /** Puts there what the newest version has. */
  show(path: VolumePath, node: Node): Promise<void> {
    return unlessOvertaken(() => this.#show(path, node));
  }

  /** Takes away what the newest version has not; of directories only those with nothing of the sandbox's own in them. */
  hide(path: VolumePath): Promise<void> {
    return unlessOvertaken(() => this.#hide(path));
  }

  async #show(path: VolumePath, node: Node): Promise<void> {
    await using opened = new AsyncDisposableStack();
    const parent = await this.#shown.enter(path.slice(0, -1), opened);
    const name = path.at(-1);
    if (!parent || name === undefined) return; // something of the sandbox's own is in the way
    const there = await parent.lookup(name);
    if (there?.isDirectory() && node.kind === 'directory') return;
    if (await this.#isOwn(path)) return;
    if (node.kind === 'directory') {
      if (there) await unlink(parent.path(name));
      await mkdir(parent.path(name), { mode: 0o755 });
      await using made = await parent.directory(name);
      await made?.own(node.stats.uid, node.stats.gid, node.stats.mode & 0o7777);
    } else {
      const temporary = parent.path(`.skerry-${randomBytes(8).toString('hex')}`);
      try {
        await put(node, temporary);
        if (there?.isDirectory()) await clear(parent, name);
        await rename(temporary, parent.path(name));
      } catch (error) {
        await unlink(temporary).catch(() => {}); // the first error tells
        throw error;
      }
    }
    await this.#note(path, node);
  }

  async #hide(path: VolumePath): Promise<void> {
    await using opened = new AsyncDisposableStack();
    const parent = await this.#shown.enter(path.slice(0, -1), opened);
    const name = path.at(-1);
    if (!parent || name === undefined || !(await this.#hideIn(parent, name, path))) return;
    await this.#note(path, undefined);
  }

  /** @returns whether nothing is left of it */
  async #hideIn(parent: Beneath, name: string, path: VolumePath): Promise<boolean> {
    const there = await parent.lookup(name);
    if (!there) return false;
    if (!there.isDirectory()) {
      if (await this.#isOwn(path)) return false;
      await unlink(parent.path(name));
      return true;
    }
    await using directory = await parent.directory(name);
    for (const inner of (await directory?.names()) ?? []) {
      const below = [...path, inner];
      if (directory && (await this.#hideIn(directory, inner, below))) await this.#note(below, undefined);
    }
    return rmdir(parent.path(name)).then(() => true, ignoreFullDirectory);
  }

  /** Written by the sandbox since the last commit: not what others did may take its place. */
  async #isOwn(path: VolumePath): Promise<boolean> {
    const stats = await this.#upper.find(path);
    if (!stats) return this.#state.has(keyOf(path));
    return !stats.isDirectory() && this.#state.get(keyOf(path)) !== markOf(entryOf(stats));
  }

  /** What is at a path now is no change of the sandbox's, unless it was quicker. */
  async #note(path: VolumePath, node: Node | undefined): Promise<void> {
    const stats = await this.#upper.find(path);
    const key = keyOf(path);
    if (!stats) this.#state.delete(key);
    else if (!node || node.kind === 'directory' || isCopy(node, stats))
      this.#state.set(key, markOf(entryOf(stats)));
  }
}

/** Times are set in seconds as a double, which does not hold all nanoseconds. */
const isCopy = ({ stats }: Leaf, copy: BigIntStats): boolean =>
  BigInt(stats.size) === copy.size && Math.abs(Number(copy.mtimeNs) / 1e6 - stats.mtimeMs) < 1;

/** Makes a copy of a layer's file at a name that is free. */
async function put({ kind, host, stats }: Leaf, target: Buffer): Promise<void> {
  if (kind === 'link') {
    await symlink(await readlink(raw(host), { encoding: 'buffer' }), target);
  } else {
    await copyFile(raw(host), target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    await using file = await open(target, constants.O_RDONLY | constants.O_NOFOLLOW);
    await file.chown(stats.uid, stats.gid);
    await file.chmod(stats.mode & 0o7777);
  }
  await lchown(target, stats.uid, stats.gid);
  await lutimes(target, stats.atimeMs / 1000, stats.mtimeMs / 1000);
}

/** Removes a directory with what is in it. */
async function clear(parent: Beneath, name: string): Promise<void> {
  await using directory = await parent.directory(name);
  if (!directory) return;
  for (const inner of await directory.names()) {
    if ((await directory.lookup(inner))?.isDirectory()) await clear(directory, inner);
    else await unlink(directory.path(inner));
  }
  await rmdir(parent.path(name));
}

/** What the sandbox changes in the same moment stays as it wants it. */
async function unlessOvertaken(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (!['ENOENT', 'EEXIST', 'ENOTDIR', 'EISDIR', 'ENOTEMPTY', 'ELOOP'].includes(code)) throw error;
  }
}

/** The sandbox has something of its own in it. */
function ignoreFullDirectory(error: unknown): false {
  if (error instanceof Error && 'code' in error && error.code === 'ENOTEMPTY') return false;
  throw error;
}
