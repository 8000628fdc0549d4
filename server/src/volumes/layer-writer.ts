/** A layer while it is made: what changes in the tree of those below it. */
import { constants } from 'node:fs';
import { chmod, chown, copyFile, link, lutimes, mkdir, rm, unlink, utimes } from 'node:fs/promises';
import { raw } from '../platform/byte-paths.ts';
import { type Directory, LayerTree, type Leaf, type Node, statOf } from './layer-tree.ts';
import type { VolumePath } from './paths.ts';
import { isADirectory, notADirectory } from './volume-errors.ts';

const DIRECTORY_MODE = 0o755;

export class LayerWriter {
  /** What there is, this layer's changes included. */
  readonly tree: LayerTree;
  readonly #root: string;
  readonly #below: LayerTree;
  readonly #whiteout: string;
  #bytes = 0;
  #files = 0;
  #touched = false;

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

  /** Makes a directory and its missing parents. @throws SkerryError `conflict` where one is a file */
  async makeDirectory(path: VolumePath): Promise<string> {
    let host = this.#root;
    for (let depth = 1; depth <= path.length; depth++) {
      const here = path.slice(0, depth);
      host = this.#host(here);
      const stats = await statOf(host);
      if (stats?.isDirectory()) continue;
      const node = await this.tree.lookup(here);
      if (node && node.kind !== 'directory') throw notADirectory(here);
      if (stats) await unlink(raw(host)); // a whiteout
      await mkdir(raw(host), { mode: DIRECTORY_MODE });
      if (node) await this.#dress(host, node);
      else this.#grow(0, 1);
    }
    return host;
  }

  /** A directory like another one, whose parents are there. */
  async takeOver(path: VolumePath, like: Directory): Promise<void> {
    const host = this.#host(path);
    if (path.length > 0) await mkdir(raw(host), { mode: DIRECTORY_MODE });
    await this.#dress(host, like);
    this.#grow(0, path.length > 0 ? 1 : 0);
  }

  /**
   * Puts a file in place of whatever file is there; `make` makes it at the path it is given, which is free.
   * @throws SkerryError `already-exists` where a directory is, `conflict` where a parent is none
   */
  async putFile(path: VolumePath, make: (host: string) => Promise<void>): Promise<void> {
    await this.makeDirectory(path.slice(0, -1));
    const node = await this.tree.lookup(path);
    if (node?.kind === 'directory') throw isADirectory(path);
    const host = this.#host(path);
    if (await statOf(host)) await unlink(raw(host));
    await make(host);
    this.#grow(-(node?.stats.size ?? 0), node ? 0 : 1);
    this.#grow((await statOf(host))?.size ?? 0, 0);
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
    await this.makeDirectory(path.slice(0, -1));
    let [bytes, files] = [node.kind === 'directory' ? 0 : node.stats.size, 1];
    if (node.kind === 'directory') {
      for await (const { node: below } of this.tree.walk(node, path)) {
        files++;
        if (below.kind !== 'directory') bytes += below.stats.size;
      }
    }
    await rm(raw(this.#host(path)), { recursive: true, force: true });
    if (await this.#below.lookup(path)) await link(this.#whiteout, raw(this.#host(path)));
    this.#grow(-bytes, -files);
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
