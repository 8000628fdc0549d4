/**
 * File names inside an image's tree, resolved so that nothing outside the tree is ever touched: symbolic links are followed as a process with the
 * tree as its root would follow them. No process runs in these trees while they are edited, so a name cannot change between
 * its resolution and its use.
 *
 * Paths in this folder are byte strings (`platform/byte-paths.ts`).
 */
import { lstatSync, mkdirSync, readlinkSync, type Stats } from 'node:fs';
import { raw, toBytes } from '../../platform/byte-paths.ts';

/** As the kernel: more links than this in one path are a loop. */
const MAX_LINKS = 40;

export class RootedTree {
  readonly root: string;

  /** @param root absolute path of the tree, without a trailing slash */
  constructor(root: string) {
    this.root = toBytes(root);
  }

  /**
   * The path on the host of `path` inside the tree. No component of it below the root is a symbolic link, except the last when
   * `followLast` is false. What does not exist resolves to itself.
   * @throws Error with code `ELOOP` or `ENAMETOOLONG`
   */
  resolve(path: string, followLast = true): string {
    let links = 0;
    const todo = path.split('/').reverse();
    const done: string[] = [];
    for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
      if (part === '' || part === '.') continue;
      if (part === '..') {
        done.pop();
        continue;
      }
      done.push(part);
      const isLast = todo.every((each) => each === '' || each === '.');
      if (isLast && !followLast) continue;
      const here = this.#host(done);
      if (!lstat(here)?.isSymbolicLink()) continue;
      if (++links > MAX_LINKS) throw Object.assign(new Error('too many symbolic links'), { code: 'ELOOP' });
      const target = readlinkSync(raw(here), { encoding: 'latin1' });
      if (target.startsWith('/')) done.length = 0;
      else done.pop();
      todo.push(...target.split('/').reverse());
    }
    return this.#host(done);
  }

  /** Makes the directory `path` and its missing parents; returns its path on the host. `onCreate` sees each new one. */
  makeDirectories(path: string, onCreate: (host: string) => void = () => {}): string {
    const parts = path.split('/').filter((part) => part !== '' && part !== '.');
    let host = this.root;
    for (let count = 1; count <= parts.length; count++) {
      host = this.resolve(parts.slice(0, count).join('/'));
      if (lstat(host)) continue;
      // A link may lead to a place whose parents are missing as well.
      const inside = this.inside(host);
      if (inside !== `/${parts.slice(0, count).join('/')}`)
        this.makeDirectories(inside.slice(0, inside.lastIndexOf('/')), onCreate);
      mkdirSync(raw(host), { mode: 0o755 });
      onCreate(host);
    }
    return host;
  }

  /** A resolved path as it is called inside the tree. */
  inside(host: string): string {
    return host.slice(this.root.length) || '/';
  }

  #host(parts: readonly string[]): string {
    return parts.length === 0 ? this.root : `${this.root}/${parts.join('/')}`;
  }
}

/** The file itself, not what it links to; undefined when there is none. */
export function lstat(host: string): Stats | undefined {
  return lstatSync(raw(host), { throwIfNoEntry: false });
}
