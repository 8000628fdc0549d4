/**
 * The tree that a stack of layers makes, read without mounting anything. Layers are in overlayfs format as far as it goes without extended attributes: a
 * character device 0:0 says that a name is not there, whatever the layers below have (https://docs.kernel.org/filesystems/overlayfs.html#whiteouts-and-opaque-directories); no
 * directory is opaque. Layers do not change while they are read, and links are never followed: nothing here leads out of them.
 */
import type { Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { raw } from '../platform/byte-paths.ts';
import { errorCode } from '../platform/error-code.ts';
import type { VolumePath } from './paths.ts';

export interface Directory {
  readonly kind: 'directory';
  /** Of the topmost of them. */
  readonly stats: Stats;
  /** The directories it is merged of, the topmost first. */
  readonly hosts: readonly string[];
}

export interface Leaf {
  readonly kind: 'file' | 'link';
  readonly stats: Stats;
  /** Where it is on the host, a byte string. */
  readonly host: string;
}

export type Node = Directory | Leaf;

export interface Walked {
  readonly path: VolumePath;
  readonly node: Node;
}

export class LayerTree {
  readonly #roots: readonly string[];

  /** @param roots absolute directories as byte strings, the lowest layer first */
  constructor(roots: readonly string[]) {
    this.#roots = roots.toReversed();
  }

  /** What is at a path; undefined when nothing is. A volume without layers has no root either. */
  async lookup(path: VolumePath): Promise<Node | undefined> {
    let node: Node | undefined = await merge(this.#roots);
    for (const name of path) {
      if (node?.kind !== 'directory') return undefined;
      node = await child(node, name);
    }
    return node;
  }

  /** What a directory has under a name. */
  child(directory: Directory, name: string): Promise<Node | undefined> {
    return child(directory, name);
  }

  /** What a directory holds, by name. */
  async children(directory: Directory): Promise<readonly (readonly [name: string, node: Node])[]> {
    const names = new Set<string>();
    for (const host of directory.hosts) {
      for (const name of await readdir(raw(host), { encoding: 'latin1' })) names.add(name);
    }
    const found: (readonly [string, Node])[] = [];
    for (const name of [...names].sort()) {
      const node = await child(directory, name);
      if (node) found.push([name, node]);
    }
    return found;
  }

  /** Everything below a directory, each directory before what it holds. */
  async *walk(directory: Directory, path: VolumePath): AsyncGenerator<Walked> {
    for (const [name, node] of await this.children(directory)) {
      const below = [...path, name];
      yield { path: below, node };
      if (node.kind === 'directory') yield* this.walk(node, below);
    }
  }
}

/** A file or link itself; undefined when there is none. */
export async function statOf(host: string): Promise<Stats | undefined> {
  try {
    return await lstat(raw(host));
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? '')) return undefined;
    throw error;
  }
}

const child = (directory: Directory, name: string): Promise<Node | undefined> =>
  merge(directory.hosts.map((host) => `${host}/${name}`));

/** What the highest of these is, and with which of those below it is merged. */
async function merge(hosts: readonly string[]): Promise<Node | undefined> {
  const directories: string[] = [];
  let top: Stats | undefined;
  for (const host of hosts) {
    const stats = await statOf(host);
    if (!stats) continue;
    if (!stats.isDirectory()) {
      if (!top) return leaf(host, stats);
      break;
    }
    top ??= stats;
    directories.push(host);
  }
  return top && { kind: 'directory', stats: top, hosts: directories };
}

function leaf(host: string, stats: Stats): Leaf | undefined {
  if (stats.isFile()) return { kind: 'file', stats, host };
  if (stats.isSymbolicLink()) return { kind: 'link', stats, host };
  return undefined; // a whiteout: layers hold nothing else
}
