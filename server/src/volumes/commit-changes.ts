/** Writes what a sandbox changed into a layer over the newest version. Of what others wrote meanwhile the last writer of a path wins. */
import { type BigIntStats, constants } from 'node:fs';
import { chmod, copyFile, lchown, link, lutimes, readlink, symlink, utimes } from 'node:fs/promises';
import type { Beneath } from '../platform/beneath.ts';
import { raw } from '../platform/byte-paths.ts';
import { errorCode } from '../platform/error-code.ts';
import { Limiter } from '../platform/limiter.ts';
import type { Changes, Written } from './changes.ts';
import type { Directory, LayerTree, Node } from './layer-tree.ts';
import type { LayerWriter } from './layer-writer.ts';
import type { VolumePath } from './paths.ts';
import { entryOf, keyOf, markOf, type TreeState, UNSETTLED } from './tree-state.ts';

/** How often a file that is written to while it is copied is copied again. */
const TRIES = 3;
/** Files that are taken at the same time. */
const AT_ONCE = 16;

export interface Commit {
  readonly changes: Changes;
  /** The overlay's writable layer. */
  readonly upper: Beneath;
  /** What the sandbox has seen of others' writes. */
  readonly shown: LayerTree;
  /** What it had written before. */
  readonly state: TreeState;
  /** Nobody changes the files any more: where that can be they are taken instead of copied. */
  readonly still: boolean;
}

/** Changes that `commit.changes.next` is not true of any more are marked in it as unsettled. */
export async function commitChanges(commit: Commit, writer: LayerWriter): Promise<void> {
  const { removed, written, next } = commit.changes;
  for (const path of removed) {
    const node = await writer.tree.lookup(path);
    if (node) await removeKnown(commit, writer, path, node);
  }
  const taking = new Taking(commit, writer);
  for (const [directory, together] of byDirectory(written)) {
    const leaves: Written[] = [];
    for (const one of together) {
      if (one.entry.kind === 'directory') await putDirectory(writer, one);
      else leaves.push(one);
    }
    for (const path of await taking.take(directory, leaves)) next.set(keyOf(path), UNSETTLED);
  }
}

/** In the order of their directories, each of which comes before what it holds. */
const byDirectory = (written: readonly Written[]): readonly (readonly [VolumePath, readonly Written[]])[] =>
  [...Map.groupBy(written, ({ path }) => keyOf(path.slice(0, -1)))].map(([, together]) => [
    together[0]?.path.slice(0, -1) ?? [],
    together,
  ]);

async function putDirectory(writer: LayerWriter, { path, entry }: Written): Promise<void> {
  const [uid, gid, mode] = [Number(entry.uid), Number(entry.gid), Number.parseInt(entry.mode, 8)];
  await writer.putDirectory(path, { uid, gid, mode });
}

/** Takes a name away, but of a directory only what the sandbox knew of: what others put there meanwhile stays. */
async function removeKnown(commit: Commit, writer: LayerWriter, path: VolumePath, node: Node): Promise<void> {
  const shown = await commit.shown.lookup(path);
  const { state } = commit;
  if (node.kind !== 'directory' || (await allKnown({ tree: writer.tree, node, shown, state, path })))
    return writer.remove(path, node);
  const known = await namesIn(commit.shown, shown);
  for (const [name, child] of await writer.tree.children(node)) {
    const below = [...path, name];
    if (known.has(name) || commit.state.has(keyOf(below))) await removeKnown(commit, writer, below, child);
  }
}

interface Knowledge {
  readonly tree: LayerTree;
  readonly node: Directory;
  readonly shown: Node | undefined;
  readonly state: TreeState;
  readonly path: VolumePath;
}

async function allKnown({ tree, node, shown, state, path }: Knowledge): Promise<boolean> {
  const known = new Map(shown?.kind === 'directory' ? await tree.children(shown) : []);
  for (const [name, child] of await tree.children(node)) {
    const below = [...path, name];
    if (!known.has(name) && !state.has(keyOf(below))) return false;
    if (child.kind !== 'directory') continue;
    if (!(await allKnown({ tree, node: child, shown: known.get(name), state, path: below }))) return false;
  }
  return true;
}

const namesIn = async (tree: LayerTree, node: Node | undefined): Promise<ReadonlySet<string>> =>
  new Set(node?.kind === 'directory' ? (await tree.children(node)).map(([name]) => name) : []);

class Taking {
  readonly #upper: Beneath;
  readonly #writer: LayerWriter;
  readonly #still: boolean;
  /** Where files with several names were put, or are being put. */
  readonly #linked = new Map<bigint, Promise<string>>();

  constructor({ upper, still }: Commit, writer: LayerWriter) {
    this.#upper = upper;
    this.#writer = writer;
    this.#still = still;
  }

  /** Takes files of one directory as they are now. @returns those that are not, or not any more, as they were looked at */
  async take(path: VolumePath, written: readonly Written[]): Promise<readonly VolumePath[]> {
    if (written.length === 0) return [];
    await using opened = new AsyncDisposableStack();
    const directory = await this.#upper.enter(path, opened);
    if (!directory) return written.map((one) => one.path);
    const several = new Limiter(AT_ONCE);
    const taken = written.map((one) =>
      several.run(async () => ((await this.#take(directory, one)) ? [] : [one.path])),
    );
    await Promise.allSettled(taken); // the directory is open until then
    return (await Promise.all(taken)).flat();
  }

  #take(directory: Beneath, { path, entry }: Written): Promise<boolean> {
    const name = path.at(-1) ?? '';
    const mark = markOf(entry);
    return entry.kind === 'link'
      ? this.#link(path, directory, name, mark)
      : this.#file(path, directory, name, mark);
  }

  async #file(path: VolumePath, directory: Beneath, name: string, mark: string): Promise<boolean> {
    const file = await directory.file(name);
    if (!file) return false;
    await using _closed = file;
    const place = raw(`/proc/self/fd/${file.fd}`);
    for (let tries = 1; ; tries++) {
      const stats = await file.stat({ bigint: true });
      await this.#writer.putFile(
        path,
        async (host) => {
          if (this.#still && (await linked(directory.path(name), host))) return;
          await this.#onceLinked(stats, host, async () => {
            await copyFile(place, raw(host), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
            await dress(host, stats);
          });
        },
        'replace',
      );
      if (this.#still) return true;
      const before = markOf(entryOf(stats));
      const after = markOf(entryOf(await file.stat({ bigint: true })));
      // What has several names is not made anew: others may be linked to it by now.
      if (before === after || tries === TRIES || stats.nlink > 1n) return after === mark;
    }
  }

  /** Makes the file with `copy`, or as one more name of what was made of another of its names. */
  async #onceLinked({ nlink, ino }: BigIntStats, host: string, copy: () => Promise<void>): Promise<void> {
    if (nlink === 1n) return copy();
    const other = this.#linked.get(ino);
    if (other) return link(raw(await other), raw(host));
    const made = copy().then(() => host);
    this.#linked.set(ino, made);
    await made;
  }

  async #link(path: VolumePath, directory: Beneath, name: string, mark: string): Promise<boolean> {
    const stats = await directory.lookup(name);
    if (!stats?.isSymbolicLink()) return false;
    const target = await readlink(directory.path(name), { encoding: 'buffer' });
    await this.#writer.putFile(
      path,
      async (host) => {
        await symlink(target, raw(host));
        await dress(host, stats);
      },
      'replace',
    );
    return markOf(entryOf(stats)) === mark;
  }
}

/** Gives a file another name. @returns false where that is on another file system */
async function linked(path: Parameters<typeof link>[0], host: string): Promise<boolean> {
  try {
    await link(path, raw(host));
    return true;
  } catch (error) {
    if (errorCode(error) === 'EXDEV') return false;
    throw error;
  }
}

async function dress(host: string, stats: BigIntStats): Promise<void> {
  const path = raw(host);
  const [atime, mtime] = [Number(stats.atimeNs) / 1e9, Number(stats.mtimeNs) / 1e9];
  if (stats.uid + stats.gid > 0n) await lchown(path, Number(stats.uid), Number(stats.gid));
  if (stats.isSymbolicLink()) return lutimes(path, atime, mtime);
  await chmod(path, Number(stats.mode & 0o7777n));
  await utimes(path, atime, mtime);
}
