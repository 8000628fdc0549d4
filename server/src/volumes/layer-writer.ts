/** A layer while it is made: what changes in the tree of those below it. */
import { constants } from 'node:fs';
import { chmod, chown, copyFile, link, lutimes, mkdir, rm, unlink, utimes } from 'node:fs/promises';
import { raw } from '../platform/byte-paths.ts';
import { type Directory, LayerTree, type Leaf, type Node, statOf } from './layer-tree.ts';
import type { VolumePath } from './paths.ts';
import { isADirectory, notADirectory } from './volume-errors.ts';

const DIRECTORY_MODE = 0o755;

/** What to do where something else stands. */
export type Over = 'refuse' | 'replace';

interface Owner {
  readonly uid: number;
  readonly gid: number;
  /** Permission bits. */
  readonly mode: number;
}

export class LayerWriter {
  /** What there is, this layer's changes included. */
  readonly tree: LayerTree;
  readonly #root: string;
  readonly #below: LayerTree;
  readonly #whiteout: string;
  #bytes = 0;
  #put = 0;
  #files = 0;
  #touched = false;
  /** The directory that the last file was put in. */
  #last:
    | { readonly key: string; readonly over: Over; readonly node: Promise<Directory | undefined> }
    | undefined;

  /**
   * @param below directories of the layers below, lowest first @param root the new one's, which must not exist
   * @param whiteout a whiteout to make more of by hard links: Node cannot make devices
   */
  static async create(below: readonly string[], root: string, whiteout: string): Promise<LayerWriter> {
    await mkdir(raw(root), { mode: DIRECTORY_MODE });
    const writer = new LayerWriter(below, root, whiteout);
    const like = await writer.#below.lookup([]);
    if (like) await writer.#dress(root, like);
    return writer;
  }

  private constructor(below: readonly string[], root: string, whiteout: string) {
    this.#root = root;
    this.#whiteout = whiteout;
    this.#below = new LayerTree(below);
    this.tree = new LayerTree([...below, root]);
  }

  /** False while it says nothing that the layers below do not. */
  get touched(): boolean {
    return this.#touched;
  }

  /** By how much the tree has grown; negative when it shrank. */
  get growth(): { readonly bytes: number; readonly files: number } {
    return { bytes: this.#bytes, files: this.#files };
  }

  /** Bytes of all files that were put into it. */
  get put(): number {
    return this.#put;
  }

  /**
   * Makes a directory and its missing parents.
   * @param over what to do where one is a file: throw, or put the directory in its place
   * @throws SkerryError `conflict`
   */
  async makeDirectory(path: VolumePath, over: Over = 'refuse'): Promise<string> {
    let host = this.#root;
    for (let depth = 1; depth <= path.length; depth++) {
      const here = path.slice(0, depth);
      host = this.#host(here);
      const stats = await statOf(host);
      if (stats?.isDirectory()) continue;
      const node = await this.tree.lookup(here);
      if (node && node.kind !== 'directory' && over === 'refuse') throw notADirectory(here);
      if (stats) await unlink(raw(host)); // a whiteout, or the file
      await mkdir(raw(host), { mode: DIRECTORY_MODE });
      if (node?.kind === 'directory') await this.#dress(host, node);
      else this.#grow(-(node?.stats.size ?? 0), node ? 0 : 1);
    }
    return host;
  }

  /** Makes a directory, in place of whatever file is there, with this owner and mode. One that is there already gets these, if it has others. */
  async putDirectory(path: VolumePath, { uid, gid, mode }: Owner): Promise<void> {
    this.#last = undefined;
    const node = await this.tree.lookup(path);
    const { stats } = node ?? {};
    const same = stats?.uid === uid && stats.gid === gid && (stats.mode & 0o7777) === mode;
    if (node?.kind === 'directory' && same) return;
    const host = await this.makeDirectory(path, 'replace');
    await chown(raw(host), uid, gid);
    await chmod(raw(host), mode);
    this.#touched = true;
  }

  /** A directory like another one, whose parents are there. */
  async takeOver(path: VolumePath, like: Directory): Promise<void> {
    const host = this.#host(path);
    if (path.length > 0) await mkdir(raw(host), { mode: DIRECTORY_MODE });
    await this.#dress(host, like);
    this.#grow(0, path.length > 0 ? 1 : 0);
  }

  /**
   * Puts a file in place of whatever file is there; `make` makes it at the path it is given, which is free. Several may be put into one directory at once.
   * @param over what to do where a directory is, or where a parent is none: throw, or put the file in its place
   * @throws SkerryError `already-exists` where a directory is, `conflict` where a parent is none
   */
  async putFile(
    path: VolumePath,
    make: (host: string) => Promise<void>,
    over: Over = 'refuse',
  ): Promise<void> {
    const parent = await this.#parent(path.slice(0, -1), over);
    const node = parent && (await this.tree.child(parent, path.at(-1) ?? ''));
    if (node?.kind === 'directory' && over === 'refuse') throw isADirectory(path);
    if (node) await this.#shrink(path, node);
    const host = this.#host(path);
    if (await statOf(host)) await rm(raw(host), { recursive: true, force: true });
    await make(host);
    const size = (await statOf(host))?.size ?? 0;
    this.#put += size;
    this.#grow(size, 1);
  }

  /** Makes a directory for what is put in it. Files come one directory after the other: it is looked for once. */
  #parent(path: VolumePath, over: Over): Promise<Directory | undefined> {
    const key = path.join('/');
    if (this.#last?.key === key && this.#last.over === over) return this.#last.node;
    const node = this.makeDirectory(path, over).then(async () => {
      const made = await this.tree.lookup(path);
      return made?.kind === 'directory' ? made : undefined;
    });
    this.#last = { key, over, node };
    return node;
  }

  /** The same bytes with the same owner, mode and time; shared with the original where the file system can. */
  async copyFile(from: Leaf, to: VolumePath): Promise<void> {
    await this.putFile(to, async (host) => {
      await copyFile(raw(from.host), raw(host), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      await this.#dress(host, from);
    });
  }

  /** Takes a name away, with everything below it. It must not come back in the same layer: what the layers below have there would, too. */
  async remove(path: VolumePath, node: Node): Promise<void> {
    this.#last = undefined;
    await this.makeDirectory(path.slice(0, -1));
    await this.#shrink(path, node);
    await rm(raw(this.#host(path)), { recursive: true, force: true });
    if (await this.#below.lookup(path)) await link(this.#whiteout, raw(this.#host(path)));
  }

  /** Counts off what is at a path, with everything below it. */
  async #shrink(path: VolumePath, node: Node): Promise<void> {
    if (node.kind !== 'directory') return this.#grow(-node.stats.size, -1);
    this.#grow(0, -1);
    for await (const { node: below } of this.tree.walk(node, path))
      this.#grow(below.kind === 'directory' ? 0 : -below.stats.size, -1);
  }

  #host(path: VolumePath): string {
    return [this.#root, ...path].join('/');
  }

  #grow(bytes: number, files: number): void {
    this.#bytes += bytes;
    this.#files += files;
    this.#touched = true;
  }

  /** Gives what is at `host` the owner, mode and times of another; of a directory in several layers overlayfs shows those of the highest. */
  async #dress(host: string, { kind, stats }: Node): Promise<void> {
    const path = raw(host);
    if (kind === 'link') return lutimes(path, stats.atime, stats.mtime);
    await chown(path, stats.uid, stats.gid);
    await chmod(path, stats.mode & 0o7777);
    await utimes(path, stats.atime, stats.mtime);
  }
}
