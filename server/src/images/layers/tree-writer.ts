/** Writes the files of packages into a layer. Names come from archives: each is checked and resolved inside the tree. */
import { chmodSync, closeSync, openSync, symlinkSync, writeSync } from 'node:fs';
import { raw, toBytes } from '../../platform/byte-paths.ts';
import { MAX_PATH_BYTES } from '../../platform/path-limits.ts';
import { EditError } from './edit.ts';
import { lstat, type RootedTree } from './rooted.ts';

export class TreeWriter {
  readonly #tree: RootedTree;
  readonly #maxBytes: number;
  #bytes = 0;

  /** @param maxBytes of all files together, whatever their archives claim */
  constructor(tree: RootedTree, maxBytes: number = 2 ** 31) {
    this.#tree = tree;
    this.#maxBytes = maxBytes;
  }

  /** A new file of root. @throws EditError for a name outside or one that exists */
  async file(
    path: string,
    mode: number,
    content: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const host = raw(this.#newName(path));
    const fd = openSync(host, 'wx', 0o600);
    try {
      for await (const chunk of content) {
        this.#bytes += chunk.length;
        if (this.#bytes > this.#maxBytes)
          throw new EditError('the packages unpack to more than Skerry allows');
        for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at);
      }
    } finally {
      closeSync(fd);
    }
    chmodSync(host, mode);
  }

  /** A new symbolic link; where it leads is for whoever runs in the image. */
  link(path: string, target: string): void {
    if (target === '' || target.length > MAX_PATH_BYTES || target.includes('\0'))
      throw new EditError(`bad link ${JSON.stringify(path)}`);
    symlinkSync(raw(toBytes(target)), raw(this.#newName(path)));
  }

  #newName(path: string): string {
    const parts = path.split('/');
    if (path.includes('\0') || parts.some((part) => part === '' || part === '.' || part === '..'))
      throw new EditError(`${JSON.stringify(path)} is not a name in a package`);
    const name = toBytes(parts.pop() ?? '');
    const directory = this.#tree.makeDirectories(toBytes(parts.join('/')));
    if (!lstat(directory)?.isDirectory())
      throw new EditError(`the package has ${JSON.stringify(path)} below a file`);
    const host = `${directory}/${name}`;
    if (lstat(host)) throw new EditError(`the package has ${JSON.stringify(path)} twice`);
    return host;
  }
}
