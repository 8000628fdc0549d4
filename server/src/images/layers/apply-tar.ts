/**
 * Unpacks a tar archive into an image's tree. The archive may be hostile: every name is resolved inside the tree (`rooted.ts`), so neither `..`, nor a
 * symbolic link of the archive or of a layer below, nor a hard link reaches the host. Device nodes are left out (the runtime
 * provides /dev) and so are extended attributes, but for the capabilities of files.
 *
 * Whiteouts: https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts. They speak of the layers below, so they are applied before any
 * file of the archive is written; the overlay that `target` is mounted as turns the removal into its own form.
 */
import {
  chmodSync,
  closeSync,
  lchownSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import type { Header } from 'tar-stream';
import { fromBytes, raw, toBytes } from '../../platform/byte-paths.ts';
import { run } from '../../platform/command.ts';
import { EditError } from './edit.ts';
import { capabilitiesOf, giveCapabilities, MAX_CAPABLE } from './file-capabilities.ts';
import { entries, entryPath, pax } from './read-tar.ts';
import { lstat, type RootedTree } from './rooted.ts';

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
const ATTRIBUTE = 'SCHILY.xattr.';

export interface UnpackOptions {
  /** Names starting with `.wh.` remove files of the tree instead of being files; `none there`: the tree has none that they could remove. */
  readonly whiteouts: boolean | 'none there';
  /** Directory inside the tree that the archive's names are relative to. */
  readonly below: string;
  /** What its files may hold together, 64 GiB by default. */
  readonly maxBytes?: number;
}

/**
 * Unpacks `file` into `target`.
 * @returns what was left out, for the build log
 * @throws EditError when the archive is damaged or names something outside
 */
export async function applyTar(file: string, target: RootedTree, options: UnpackOptions): Promise<string[]> {
  if (options.whiteouts === true) {
    for await (const [header] of entries(file, options.maxBytes))
      removeForWhiteout(target, entryPath(header));
  }
  const unpacker = new Unpacker(target, options);
  for await (const [header, body] of entries(file, options.maxBytes)) await unpacker.add(header, body);
  return unpacker.finish();
}

function split(path: string): [parent: string, name: string] {
  const cut = path.lastIndexOf('/');
  return [path.slice(0, Math.max(cut, 0)), path.slice(cut + 1)];
}

function removeForWhiteout(target: RootedTree, path: string): void {
  const [parent, name] = split(path);
  if (!name.startsWith(WHITEOUT)) return;
  const directory = target.resolve(parent);
  if (!lstat(directory)?.isDirectory()) return;
  const doomed =
    name === OPAQUE ? readdirSync(raw(directory), { encoding: 'latin1' }) : [name.slice(WHITEOUT.length)];
  for (const each of doomed) {
    if (each === '' || each === '.' || each === '..')
      throw new EditError(`bad whiteout ${JSON.stringify(fromBytes(path))}`);
    rmSync(raw(`${directory}/${each}`), { recursive: true, force: true });
  }
}

class Unpacker {
  readonly #target: RootedTree;
  readonly #options: UnpackOptions;
  /** Directories get their times last, since every file made in them changes these. */
  readonly #directories: { readonly host: string; readonly mtime: Date }[] = [];
  #devices = 0;
  #attributes = 0;
  #capable = 0;

  constructor(target: RootedTree, options: UnpackOptions) {
    this.#target = target;
    this.#options = options;
  }

  async add(header: Header, body: AsyncIterable<Buffer>): Promise<void> {
    const path = entryPath(header);
    const [parent, name] = split(path);
    if (this.#options.whiteouts && name.startsWith(WHITEOUT)) return;
    if (path === '') {
      if (header.type === 'directory' && this.#options.whiteouts) this.#finish(this.#target.root, header);
      return;
    }
    const directory = this.#target.makeDirectories(`${this.#options.below}/${parent}`);
    if (!lstat(directory)?.isDirectory())
      throw new EditError(`the archive puts ${JSON.stringify(fromBytes(path))} below a file`);
    const host = `${directory}/${name}`;
    const attributes = Object.keys(pax(header)).filter((key) => key.startsWith(ATTRIBUTE));
    const capabilities = capabilitiesOf(raw(pax(header)[`${ATTRIBUTE}security.capability`] ?? ''));
    const isCapable = capabilities !== undefined && isFile(header) && this.#capable < MAX_CAPABLE;
    if (attributes.length > (isCapable ? 1 : 0)) this.#attributes++;
    switch (header.type) {
      case 'directory':
        return this.#makeDirectory(host, header);
      case 'file':
      case 'contiguous-file':
        await this.#writeFile(host, header, body);
        if (!isCapable) return;
        this.#capable++;
        return giveCapabilities(host, capabilities);
      case 'symlink':
        this.#clear(host);
        symlinkSync(raw(linkName(header)), raw(host));
        return lchownSync(raw(host), header.uid ?? 0, header.gid ?? 0);
      case 'link':
        return this.#hardLink(host, header);
      case 'fifo':
        this.#clear(host);
        // A program is told the name as text, and one that is none would be another name, which may be a link.
        if (toBytes(fromBytes(host)) !== host)
          throw new EditError(
            `the archive has a FIFO whose name is not UTF-8: ${JSON.stringify(fromBytes(path))}`,
          );
        await run(['mkfifo', '--', fromBytes(host)]);
        return this.#finish(host, header);
      case 'character-device':
      case 'block-device':
        this.#devices++;
        return;
      default:
        return; // pax headers and the like, already applied by the reader
    }
  }

  finish(): string[] {
    for (const { host, mtime } of this.#directories)
      if (lstat(host)?.isDirectory()) utimesSync(raw(host), mtime, mtime);
    return [
      ...(this.#devices > 0
        ? [`${this.#devices} device nodes were left out; the runtime provides /dev`]
        : []),
      ...(this.#attributes > 0 ? [`extended attributes of ${this.#attributes} files were left out`] : []),
    ];
  }

  #makeDirectory(host: string, header: Header): void {
    if (!lstat(host)?.isDirectory()) {
      this.#clear(host);
      mkdirSync(raw(host));
    }
    this.#finish(host, header);
  }

  async #writeFile(host: string, header: Header, body: AsyncIterable<Buffer>): Promise<void> {
    this.#clear(host);
    const fd = openSync(raw(host), 'wx', 0o600);
    try {
      for await (const chunk of body) {
        for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at);
      }
    } finally {
      closeSync(fd);
    }
    this.#finish(host, header);
  }

  #hardLink(host: string, header: Header): void {
    const source = this.#target.resolve(`${this.#options.below}/${linkName(header)}`, false);
    const there = lstat(source);
    if (!there || there.isDirectory()) {
      throw new EditError(
        `the archive links to ${JSON.stringify(fromBytes(linkName(header)))}, which is not in the image`,
      );
    }
    if (source === host) return;
    this.#clear(host);
    linkSync(raw(source), raw(host));
  }

  #clear(host: string): void {
    const there = lstat(host);
    if (there?.isDirectory()) rmSync(raw(host), { recursive: true });
    else if (there) unlinkSync(raw(host));
  }

  #finish(host: string, header: Header): void {
    lchownSync(raw(host), header.uid ?? 0, header.gid ?? 0);
    chmodSync(raw(host), (header.mode ?? 0o644) & 0o7777);
    const mtime = header.mtime ?? new Date(0);
    if (header.type === 'directory') this.#directories.push({ host, mtime });
    else utimesSync(raw(host), mtime, mtime);
  }
}

const isFile = ({ type }: Header): boolean => type === 'file' || type === 'contiguous-file';

const linkName = ({ linkname }: Header): string => linkname ?? '';
