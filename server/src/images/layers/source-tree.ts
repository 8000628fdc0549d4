/** Where COPY takes files from: the build context, or the tree of an image or stage. Both answer the same questions. */
import { readdirSync, readlinkSync } from 'node:fs';
import { fromBytes, raw, toBytes } from '../../platform/byte-paths.ts';
import { globMatches, isGlob, isWildcard } from '../dockerfile/glob.ts';
import { namesOf } from '../dockerfile/path-pattern.ts';
import { type ContextEntry, EditError } from './edit.ts';
import { capableFiles } from './file-capabilities.ts';
import { lstat, type RootedTree } from './rooted.ts';

export interface SourceNode {
  readonly kind: 'file' | 'directory' | 'link' | 'other';
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds; undefined lets the copy have the present time. */
  readonly mtime: number | undefined;
  /** It is there since something is in it, and nobody said more of it. */
  readonly implied?: true;
}

/** Paths are byte strings relative to the tree's root, without a leading slash; the root is the empty string. */
export interface SourceTree {
  node(path: string): SourceNode | undefined;
  /** Names in a directory, sorted. */
  list(path: string): readonly string[];
  readLink(path: string): string;
  /** The path with the symbolic links in it followed, as far as it exists. */
  follow(path: string): string;
  /** The file's bytes on the host. */
  file(path: string): string;
  /** Capabilities of the files at and below paths, by their paths as text. */
  capable(paths: readonly string[]): Promise<ReadonlyMap<string, Buffer>>;
}

const join = (directory: string, name: string) => (directory === '' ? name : `${directory}/${name}`);

/**
 * The paths that a COPY source means, in order, links followed.
 * @param deep `**` means any number of directories
 * @throws EditError when there is none, but for patterns with a wildcard, which may mean nothing
 */
export function matchSources(tree: SourceTree, pattern: string, deep = false): readonly string[] {
  let paths = [''];
  for (const segment of namesOf(pattern)) {
    if (deep && segment === '**') {
      paths = [...new Set(paths.flatMap((path) => directoriesBelow(tree, path)))];
      continue;
    }
    paths = paths.flatMap((path) => {
      const directory = tree.follow(path);
      if (!isGlob(segment))
        return tree.node(directory)?.kind === 'directory' ? [join(directory, segment)] : [];
      if (tree.node(directory)?.kind !== 'directory') return [];
      return tree
        .list(directory)
        .filter((name) => globMatches(segment, name))
        .map((name) => join(directory, name));
    });
  }
  const found = paths.map((path) => tree.follow(path)).filter((path) => tree.node(path) !== undefined);
  if (found.length === 0 && !isWildcard(pattern))
    throw new EditError(`no such file or directory: ${JSON.stringify(pattern)}`);
  return found;
}

/** A directory and those below it, no links followed. */
function directoriesBelow(tree: SourceTree, path: string): string[] {
  if (tree.node(path)?.kind !== 'directory') return [];
  return [path, ...tree.list(path).flatMap((name) => directoriesBelow(tree, join(path, name)))];
}

/** The build context: regular files at their names; the directories between them are implied. */
export class ContextTree implements SourceTree {
  readonly #files = new Map<string, ContextEntry>();
  readonly #directories = new Map<string, Set<string>>([['', new Set()]]);

  constructor(entries: readonly ContextEntry[]) {
    for (const entry of entries) {
      const parts = toBytes(entry.path).split('/');
      parts.forEach((part, depth) => {
        const parent = parts.slice(0, depth).join('/');
        const names = this.#directories.get(parent) ?? new Set();
        this.#directories.set(parent, names.add(part));
      });
      this.#files.set(parts.join('/'), entry);
    }
    for (const path of this.#files.keys()) {
      if (this.#directories.has(path))
        throw new EditError(
          `the build context has ${JSON.stringify(path)} both as a file and as a directory`,
        );
    }
  }

  node(path: string): SourceNode | undefined {
    const common = { uid: 0, gid: 0, mtime: undefined };
    const entry = this.#files.get(path);
    if (entry) return { ...common, kind: 'file', mode: entry.mode & 0o7777 };
    if (!this.#directories.has(path)) return undefined;
    return { ...common, kind: 'directory', mode: 0o755, implied: true };
  }

  list(path: string): readonly string[] {
    return [...(this.#directories.get(path) ?? [])].sort();
  }

  readLink(path: string): string {
    throw new EditError(`${JSON.stringify(path)} is not a link`);
  }

  follow(path: string): string {
    return path;
  }

  file(path: string): string {
    return toBytes(this.#files.get(path)?.file ?? '');
  }

  /** No client sends any. */
  async capable(): Promise<ReadonlyMap<string, Buffer>> {
    return new Map();
  }
}

/** The tree of an image or stage. */
export class ImageTree implements SourceTree {
  readonly #tree: RootedTree;

  constructor(tree: RootedTree) {
    this.#tree = tree;
  }

  node(path: string): SourceNode | undefined {
    const stats = lstat(this.file(path));
    if (!stats) return undefined;
    const kind = stats.isFile()
      ? 'file'
      : stats.isDirectory()
        ? 'directory'
        : stats.isSymbolicLink()
          ? 'link'
          : 'other';
    return { kind, mode: stats.mode & 0o7777, uid: stats.uid, gid: stats.gid, mtime: stats.mtimeMs / 1000 };
  }

  list(path: string): readonly string[] {
    return readdirSync(raw(this.file(path)), { encoding: 'latin1' }).sort();
  }

  readLink(path: string): string {
    return readlinkSync(raw(this.file(path)), { encoding: 'latin1' });
  }

  follow(path: string): string {
    return this.#tree.inside(this.#tree.resolve(path)).slice(1);
  }

  file(path: string): string {
    return this.#tree.resolve(path, false);
  }

  async capable(paths: readonly string[]): Promise<ReadonlyMap<string, Buffer>> {
    const found = await capableFiles(paths.map((path) => this.file(path)));
    const above = fromBytes(this.#tree.root).length + 1;
    return new Map([...found].map(([host, capabilities]) => [host.slice(above), capabilities]));
  }
}
