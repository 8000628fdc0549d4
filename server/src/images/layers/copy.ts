/** COPY and ADD into an image's tree (https://docs.docker.com/reference/dockerfile/#copy). */
import {
  chmodSync,
  chownSync,
  constants,
  copyFileSync,
  lchownSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename } from 'node:path/posix';
import { fromBytes, raw, toBytes } from '../../platform/byte-paths.ts';
import { changeMode } from '../dockerfile/copy-words.ts';
import { namesOf, pathIsBelow } from '../dockerfile/path-pattern.ts';
import { applyTar } from './apply-tar.ts';
import { EditError, type LayerEdit } from './edit.ts';
import { giveCapabilities } from './file-capabilities.ts';
import { type Owner, resolveOwner } from './ownership.ts';
import { isArchive } from './read-tar.ts';
import { lstat, type RootedTree } from './rooted.ts';
import { matchSources, type SourceNode, type SourceTree } from './source-tree.ts';

type CopyEdit = Extract<LayerEdit, { kind: 'copy' }>;

/** @param owners has the users and groups that `chown` names @throws EditError naming the source or target at fault */
export async function copyInto(
  target: RootedTree,
  source: SourceTree,
  edit: CopyEdit,
  owners: RootedTree,
): Promise<void> {
  const patterns = edit.patterns.map(toBytes);
  const matches = patterns.flatMap((pattern) =>
    matchSources(source, pattern, edit.parents).map((path) => ({ path, pattern })),
  );
  const destination = toBytes(edit.destination);
  const several = matches.length + edit.heredocs.length > 1;
  const intoDirectory =
    edit.parents ||
    destination.endsWith('/') ||
    several ||
    lstat(target.resolve(destination))?.isDirectory() === true;
  if (several && !destination.endsWith('/') && patterns.length + edit.heredocs.length > 1) {
    throw new EditError(
      `with several sources the destination must be a directory and end with "/": ${edit.destination}`,
    );
  }
  const capable = await source.capable(matches.map(({ path }) => path));
  const owner = edit.chown === undefined ? undefined : resolveOwner(edit.chown, owners);
  const copier = new Copier(target, source, edit, { owner, capable });
  for (const { path, pattern } of matches) {
    const below = edit.parents ? `${destination}/${withParents(path, pattern)}` : destination;
    if (source.node(path)?.kind === 'directory') copier.directory(path, below, path);
    else if (!copier.isExcluded(path, basename(path))) {
      const to = edit.parents ? below : intoDirectory ? `${destination}/${basename(path)}` : destination;
      if (edit.unpack && (await isArchive(source.file(path)))) {
        // An archive's own owners stand, as with Docker; --chown does not reach into it.
        await applyTar(source.file(path), target, {
          whiteouts: false,
          below: copier.makeDirectory(destination),
        });
      } else copier.file(path, to);
    }
  }
  for (const { name, content } of edit.heredocs) {
    copier.inline(content, intoDirectory ? `${destination}/${toBytes(name)}` : destination);
  }
  await copier.finish();
}

/** The part of a path that it keeps: what comes after `/./` in the pattern, or all. @throws EditError when the pattern leaves open where that is */
function withParents(path: string, pattern: string): string {
  const pivot = pattern.indexOf('/./');
  if (pivot < 0) return path;
  const before = namesOf(pattern.slice(0, pivot));
  if (before.includes('**')) throw new EditError('`**` cannot come before `/./`');
  return path.split('/').slice(before.length).join('/');
}

class Copier {
  readonly #target: RootedTree;
  readonly #source: SourceTree;
  readonly #owner: Owner | undefined;
  readonly #chmod: string | undefined;
  readonly #keepsTop: boolean;
  readonly #exclude: readonly (readonly string[])[];
  readonly #capable: ReadonlyMap<string, Buffer>;
  /** What files on the host are to be given, once nothing takes their place any more. */
  readonly #capabilities = new Map<string, Buffer>();

  /** @param found `capable` has the capabilities of files of `source`, by their paths as text */
  constructor(
    target: RootedTree,
    source: SourceTree,
    edit: CopyEdit,
    found: { readonly owner: Owner | undefined; readonly capable: ReadonlyMap<string, Buffer> },
  ) {
    this.#capable = found.capable;
    this.#target = target;
    this.#source = source;
    this.#owner = found.owner;
    this.#chmod = edit.chmod;
    this.#keepsTop = edit.mirror === true || edit.parents;
    this.#exclude = edit.exclude.map((pattern) => namesOf(toBytes(pattern)));
  }

  /** @param within the path relative to the directory that is copied */
  isExcluded(path: string, within: string): boolean {
    if (this.#exclude.length === 0) return false;
    const [whole, part] = [namesOf(path), namesOf(within)];
    return this.#exclude.some((pattern) => pathIsBelow(pattern, whole) || pathIsBelow(pattern, part));
  }

  /** Makes a directory that the destination needs; new ones belong to `--chown`. Returns its name inside the tree. */
  makeDirectory(path: string): string {
    const host = this.#target.makeDirectories(path, (created) => {
      if (this.#owner) chownSync(raw(created), this.#owner.uid, this.#owner.gid);
    });
    if (!lstat(host)?.isDirectory())
      throw new EditError(`${fromBytes(path)} is not a directory in the image`);
    return this.#target.inside(host);
  }

  /** Copies what is in a directory, as BuildKit does: the one that the instruction names (`top`) gives neither owner nor mode to what it is copied to. */
  directory(from: string, to: string, top: string): void {
    const existed = lstat(this.#target.resolve(to)) !== undefined;
    const directory = this.makeDirectory(to);
    for (const name of this.#source.list(from)) {
      const path = from === '' ? name : `${from}/${name}`;
      if (this.isExcluded(path, top === '' ? path : path.slice(top.length + 1))) continue;
      if (this.#source.node(path)?.kind === 'directory') this.directory(path, `${directory}/${name}`, top);
      else this.file(path, `${directory}/${name}`);
    }
    const node = this.#source.node(from);
    if (!node || (from === top && !this.#keepsTop)) return;
    // One that was there becomes as the source has it, where that is known.
    if (!existed || (from !== top && !node.implied)) this.#finish(this.#target.resolve(to), node);
  }

  /** Copies one file or link to exactly `to`. */
  file(from: string, to: string): void {
    const node = this.#source.node(from);
    if (!node || node.kind === 'other') return; // sockets, pipes and devices are not copied
    const host = this.#makeRoom(to);
    if (node.kind === 'link') symlinkSync(raw(this.#source.readLink(from)), raw(host));
    else
      copyFileSync(
        raw(this.#source.file(from)),
        raw(host),
        constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE,
      );
    this.#finish(host, node);
    const capabilities = node.kind === 'file' ? this.#capable.get(fromBytes(from)) : undefined;
    if (capabilities) this.#capabilities.set(host, capabilities);
  }

  /** Last: a change of owner takes capabilities away. */
  async finish(): Promise<void> {
    for (const [host, capabilities] of this.#capabilities) await giveCapabilities(host, capabilities);
  }

  inline(content: string, to: string): void {
    const host = this.#makeRoom(to);
    writeFileSync(raw(host), content, { flag: 'wx' });
    this.#finish(host, { kind: 'file', mode: 0o644, uid: 0, gid: 0, mtime: undefined });
  }

  /** The path on the host of a file to be made: parents exist, an earlier file or link of that name is gone. */
  #makeRoom(to: string): string {
    const cut = to.lastIndexOf('/');
    const parent = this.makeDirectory(to.slice(0, cut));
    const name = to.slice(cut + 1);
    const host = this.#target.resolve(`${parent}/${name}`, false);
    const there = lstat(host);
    if (there?.isDirectory())
      throw new EditError(`${fromBytes(to)} is a directory in the image and cannot become a file`);
    if (there) unlinkSync(raw(host));
    this.#capabilities.delete(host);
    return host;
  }

  #finish(host: string, node: SourceNode): void {
    const { uid, gid } = this.#owner ?? node;
    lchownSync(raw(host), uid, gid);
    if (node.kind === 'link') return;
    const isDirectory = node.kind === 'directory';
    chmodSync(
      raw(host),
      this.#chmod === undefined ? node.mode : changeMode(this.#chmod, node.mode, isDirectory),
    );
    if (node.mtime !== undefined) utimesSync(raw(host), node.mtime, node.mtime);
  }
}
