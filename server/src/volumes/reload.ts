/** Brings others' writes into a working tree while its sandbox may change it. */
import { randomBytes } from 'node:crypto';
import { type BigIntStats, constants, type Stats } from 'node:fs';
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
import { errorCode } from '../platform/error-code.ts';
import { idOutside } from '../platform/id-ranges.ts';
import { Limiter } from '../platform/limiter.ts';
import type { Changes, Written } from './changes.ts';
import type { Difference } from './differences.ts';
import type { Directory, LayerTree, Leaf, Node } from './layer-tree.ts';
import type { VolumePath } from './paths.ts';
import { entryOf, keyOf, markOf, type TreeState } from './tree-state.ts';

/** How the names of files begin that are not whole yet. */
const TEMPORARY = '.skerry-';
/** Files that are copied at the same time. */
const AT_ONCE = 16;

export interface Reloaded {
  /** What the sandbox sees. */
  readonly shown: Beneath;
  /** What is its own of that, with the ids that are on disk. */
  readonly upper: Beneath;
  /** Of the last commit; what comes from others is added, so that it is no change of the sandbox's. */
  readonly state: TreeState;
  /** What id 0 is in what the sandbox sees; undefined: the same. */
  readonly firstId: number | undefined;
}

export class Reload {
  readonly #shown: Beneath;
  readonly #upper: Beneath;
  readonly #state: TreeState;
  readonly #firstId: number | undefined;

  constructor({ shown, upper, state, firstId }: Reloaded) {
    this.#shown = shown;
    this.#upper = upper;
    this.#state = state;
    this.#firstId = firstId;
  }

  /** @param differences each directory before what is in it */
  async apply(differences: readonly Difference[]): Promise<void> {
    const there: Shown[] = [];
    const gone = new Set<string>();
    for (const { path, node } of differences) {
      if (node) there.push({ path, node });
      else gone.add(keyOf(path));
    }
    // What is gone with its directory is found in there.
    for (const { path, node } of differences.toReversed())
      if (!node && !gone.has(keyOf(path.slice(0, -1)))) await unlessOvertaken(() => this.#hide(path));
    for (const { path, node } of there)
      if (node.kind === 'directory') await unlessOvertaken(() => this.#showDirectory(path, node));
    const leaves = there.filter(({ node }) => node.kind !== 'directory');
    for (const together of Map.groupBy(leaves, ({ path }) => keyOf(path.slice(0, -1))).values())
      await this.#showFiles(together[0]?.path.slice(0, -1) ?? [], together);
  }

  async #showDirectory(path: VolumePath, node: Directory): Promise<void> {
    await using opened = new AsyncDisposableStack();
    const parent = await this.#shown.enter(path.slice(0, -1), opened);
    const name = path.at(-1);
    if (!parent || name === undefined) return; // something of the sandbox's own is in the way
    const [uid, gid] = this.#ownerOf(node);
    const mode = node.stats.mode & 0o7777;
    const there = await parent.lookup(name);
    if (there?.isDirectory()) {
      if (Number(there.uid) === uid && Number(there.gid) === gid && (Number(there.mode) & 0o7777) === mode)
        return;
    } else {
      if (this.#isOwn(path, await this.#upper.find(path))) return;
      if (there) await unlink(parent.path(name));
      await mkdir(parent.path(name), { mode: 0o755 });
    }
    await using directory = await parent.directory(name);
    await directory?.own(uid, gid, mode);
    this.#note(path, await this.#upper.find(path));
  }

  /** Puts there what the newest version has in one directory. */
  async #showFiles(path: VolumePath, files: readonly Shown[]): Promise<void> {
    await using opened = new AsyncDisposableStack();
    const parent = await this.#shown.enter(path, opened);
    if (!parent) return; // likewise
    const own = await this.#upper.enter(path, opened);
    const several = new Limiter(AT_ONCE);
    const put = files.map((file) =>
      several.run(() => unlessOvertaken(() => this.#showFile(parent, own, file))),
    );
    await Promise.allSettled(put); // the directories are open until then
    await Promise.all(put);
    // Only now it is sure to have a directory there.
    const upper = own ?? (await this.#upper.enter(path, opened));
    for (const { path: below, node } of files) {
      const stats = await upper?.lookup(below.at(-1) ?? '');
      // Else the sandbox has written to it since.
      if (stats && isCopy(node.stats, stats)) this.#note(below, stats);
    }
  }

  async #showFile(parent: Beneath, own: Beneath | undefined, { path, node }: Shown): Promise<void> {
    const name = path.at(-1) ?? '';
    if (node.kind === 'directory') return;
    const mine = await own?.lookup(name);
    if (!mine?.isDirectory() && this.#isOwn(path, mine)) return;
    const temporary = parent.path(`${TEMPORARY}${randomBytes(8).toString('hex')}`);
    try {
      await put(node, temporary, this.#ownerOf(node));
      if ((await parent.lookup(name))?.isDirectory()) await clear(parent, name);
      await rename(temporary, parent.path(name));
    } catch (error) {
      await unlink(temporary).catch(() => {}); // the first error tells
      throw error;
    }
  }

  /** Takes away what the newest version has not; of directories only those with nothing of the sandbox's own in them. */
  async #hide(path: VolumePath): Promise<void> {
    await using opened = new AsyncDisposableStack();
    const above = path.slice(0, -1);
    const [parent, name] = [await this.#shown.enter(above, opened), path.at(-1)];
    if (!parent || name === undefined) return;
    if (!(await this.#hideIn(parent, await this.#upper.enter(above, opened), name, path))) return;
    this.#note(path, await this.#upper.find(path));
  }

  /** @returns whether nothing is left of it */
  async #hideIn(parent: Beneath, own: Beneath | undefined, name: string, path: VolumePath): Promise<boolean> {
    const there = await parent.lookup(name);
    if (!there) return false;
    if (!there.isDirectory()) {
      if (this.#isOwn(path, await own?.lookup(name))) return false;
      await unlink(parent.path(name));
      return true;
    }
    await using opened = new AsyncDisposableStack();
    const directory = await parent.enter([name], opened);
    const ownDirectory = await own?.enter([name], opened);
    for (const inner of (await directory?.names()) ?? []) {
      const below = [...path, inner];
      if (directory && (await this.#hideIn(directory, ownDirectory, inner, below)))
        this.#note(below, await ownDirectory?.lookup(inner));
    }
    return rmdir(parent.path(name)).then(() => true, ignoreFullDirectory);
  }

  /** Its owner and group in what the sandbox sees. */
  #ownerOf({ stats: { uid, gid } }: Node): [number, number] {
    return [idOutside(this.#firstId, uid), idOutside(this.#firstId, gid)];
  }

  /** Written, or taken away, by the sandbox since the last commit: not what others did may take its place. @param mine what the upper layer has there */
  #isOwn(path: VolumePath, mine: BigIntStats | undefined): boolean {
    const before = this.#state.get(keyOf(path));
    return mine ? !mine.isDirectory() && before !== markOf(entryOf(mine)) : before !== undefined;
  }

  /** What the upper layer has at a path now is no change of the sandbox's. */
  #note(path: VolumePath, mine: BigIntStats | undefined): void {
    if (mine) this.#state.set(keyOf(path), markOf(entryOf(mine)));
    else this.#state.delete(keyOf(path));
  }
}

interface Shown {
  readonly path: VolumePath;
  readonly node: Node;
}

/** Times are set in seconds as a double, which does not hold all nanoseconds. */
const isCopy = (stats: Stats, copy: Pick<BigIntStats, 'size' | 'mtimeNs'>): boolean =>
  BigInt(stats.size) === copy.size && Math.abs(Number(copy.mtimeNs) / 1e6 - stats.mtimeMs) < 1;

/** Makes a copy of a layer's file at a name that is free. */
async function put({ kind, host, stats }: Leaf, target: Buffer, [uid, gid]: [number, number]): Promise<void> {
  if (kind === 'link') {
    await symlink(await readlink(raw(host), { encoding: 'buffer' }), target);
  } else {
    await copyFile(raw(host), target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    // The copy has the mode, but for what a change of the owner takes away.
    if (uid + gid > 0) {
      await using file = await open(target, constants.O_RDONLY | constants.O_NOFOLLOW);
      await file.chown(uid, gid);
      await file.chmod(stats.mode & 0o7777);
    }
  }
  if (kind === 'link') await lchown(target, uid, gid);
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
    const overtaken = ['ENOENT', 'EEXIST', 'ENOTDIR', 'EISDIR', 'ENOTEMPTY', 'ELOOP'];
    if (!overtaken.includes(errorCode(error) ?? '')) throw error;
  }
}

/** The sandbox has something of its own in it. */
function ignoreFullDirectory(error: unknown): false {
  if (errorCode(error) === 'ENOTEMPTY') return false;
  throw error;
}

/**
 * Of what changed while a reload was broken off, by the death of the server or by an error, what is the sandbox's own. What was not whole yet goes.
 * @param target what the reload was to show
 */
export async function withoutReloaded(changes: Changes, shown: Beneath, target: LayerTree): Promise<Changes> {
  const written: Written[] = [];
  for (const one of changes.written) {
    if (one.path.at(-1)?.startsWith(TEMPORARY)) {
      await using opened = new AsyncDisposableStack();
      const parent = await shown.enter(one.path.slice(0, -1), opened);
      if (parent) await unlessOvertaken(() => unlink(parent.path(one.path.at(-1) ?? '')));
      changes.next.delete(keyOf(one.path));
    } else if (!isReloaded(one, await target.lookup(one.path))) written.push(one);
  }
  const removed: VolumePath[] = [];
  for (const path of changes.removed) if (await target.lookup(path)) removed.push(path);
  return { written, removed, next: changes.next };
}

function isReloaded({ entry }: Written, node: Node | undefined): boolean {
  if (entry.kind === 'directory' || node?.kind === 'directory') return entry.kind === node?.kind;
  return (
    node !== undefined && isCopy(node.stats, { size: BigInt(entry.size), mtimeNs: BigInt(entry.mtimeNs) })
  );
}
