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
  constants,
  createReadStream,
  lchownSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import type { Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { extract, type Header } from 'tar-stream';
import { fromBytes, raw, toBytes } from '../../platform/byte-paths.ts';
import { run } from '../../platform/command.ts';
import { EditError } from './edit.ts';
import { capabilitiesOf, setCapabilities } from './file-capabilities.ts';
import { lstat, type RootedTree } from './rooted.ts';

const MAX_ENTRIES = 2_000_000;
const MAX_BYTES = 64 * 2 ** 30;
const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
const ATTRIBUTE = 'SCHILY.xattr.';
/** Files of an archive that get capabilities, each by a program of its own. */
const MAX_CAPABLE = 1000;

export interface UnpackOptions {
  /** Names starting with `.wh.` remove files instead of being files. */
  readonly whiteouts: boolean;
  /** Directory inside the tree that the archive's names are relative to. */
  readonly below: string;
  /** What its files may hold together, 64 GiB by default. */
  readonly maxBytes?: number;
}

/** Tar with the compressions that Node reads, told by the first bytes. */
export function archiveKind(file: string): 'tar' | 'gzip' | 'zstd' | undefined {
  const head = firstBytes(file, 512);
  if (head.readUInt16BE(0) === 0x1f8b) return 'gzip';
  if (head.readUInt32BE(0) === 0x28b52ffd) return 'zstd';
  return head.subarray(257, 262).toString('latin1') === 'ustar' ? 'tar' : undefined;
}

function firstBytes(file: string, count: number): Buffer {
  const head = Buffer.alloc(count);
  const fd = openSync(raw(file), 'r');
  try {
    readSync(fd, head, 0, head.length, 0);
  } finally {
    closeSync(fd);
  }
  return head;
}

/**
 * Whether ADD unpacks a file: its content says so, and what is compressed but no archive is copied as it is.
 * @throws EditError for what Docker would unpack and Node cannot read
 */
export async function isArchive(file: string): Promise<boolean> {
  const packer = foreignPacker(file);
  if (packer !== undefined)
    throw new EditError(
      `ADD does not unpack what is compressed with ${packer}: pack it with gzip or zstd, or COPY it and unpack it in a RUN`,
    );
  const block = await firstBlock(file);
  const claimed = Number.parseInt(block.toString('latin1', 148, 156), 8);
  const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 0x20 : byte), 0);
  return block.length === BLOCK && claimed === sum;
}

/** Of what is in a file, decompressed: as much as a header of tar takes, or less. */
async function firstBlock(file: string): Promise<Buffer> {
  const { source, decompressed } = open(file);
  const chunks: Buffer[] = [];
  try {
    let length = 0;
    for await (const chunk of decompressed) {
      chunks.push(chunk as Buffer); // of a stream without an encoding
      length += chunk.length;
      if (length >= BLOCK) break;
    }
  } catch {
    // What cannot be decompressed is no archive.
  } finally {
    source.destroy();
  }
  return Buffer.concat(chunks).subarray(0, BLOCK);
}

/** The program of a compression that is none of Node's. */
function foreignPacker(file: string): 'xz' | 'bzip2' | undefined {
  const head = firstBytes(file, 6).toString('latin1');
  if (head === '\xfd7zXZ\0') return 'xz';
  return /^BZh[1-9]/.test(head) ? 'bzip2' : undefined;
}

/**
 * Unpacks `file` into `target`.
 * @returns what was left out, for the build log
 * @throws EditError when the archive is damaged or names something outside
 */
export async function applyTar(file: string, target: RootedTree, options: UnpackOptions): Promise<string[]> {
  if (options.whiteouts) {
    for await (const [header] of entries(file, options.maxBytes))
      removeForWhiteout(target, entryPath(header));
  }
  const unpacker = new Unpacker(target, options);
  for await (const [header, body] of entries(file, options.maxBytes)) await unpacker.add(header, body);
  return unpacker.finish();
}

/** A file and what is in it, which are the same where it is not compressed. Errors of the first are the second's too. */
function open(file: string): { readonly source: Readable; readonly decompressed: Readable } {
  const kind = archiveKind(file);
  const source: Readable = createReadStream(raw(file));
  if (kind !== 'gzip' && kind !== 'zstd') return { source, decompressed: source };
  const decompressed = kind === 'gzip' ? createGunzip() : createZstdDecompress();
  source.on('error', (error) => decompressed.destroy(error));
  return { source, decompressed: source.pipe(decompressed) };
}

/** What tar counts in. */
const BLOCK = 512;

/** An archive may hold names that are not UTF-8. The option is missing from the package's types. */
const namesAsBytes = { filenameEncoding: 'latin1' } as object;

/** What is in an archive, bounded; a header's names are byte strings unless a pax header gave them. */
export async function* entries(
  file: string,
  maxBytes = MAX_BYTES,
): AsyncGenerator<[Header, AsyncIterable<Buffer>]> {
  const { source, decompressed } = open(file);
  const archive = extract(namesAsBytes);
  decompressed.on('error', (error) => archive.destroy(error));
  decompressed.pipe(archive);
  let count = 0;
  let bytes = 0;
  try {
    for await (const entry of archive) {
      bytes += entry.header.size ?? 0;
      if (++count > MAX_ENTRIES || bytes > maxBytes)
        throw new EditError('the archive unpacks to more than Skerry allows');
      // A stream of buffers; the package's type says less.
      yield [entry.header, entry as AsyncIterable<Buffer>];
      entry.resume();
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (error instanceof EditError || (code !== undefined && /^E[A-Z]+$/.test(code))) throw error;
    throw new EditError(`the archive is damaged: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    source.destroy();
  }
}

/** The entry's name as a byte string without leading slashes. Names from pax headers come decoded, the others as bytes. */
function entryPath(header: Header): string {
  const name = pax(header).path === undefined ? header.name : toBytes(header.name);
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..') || name.includes('\0'))
    throw new EditError(`the archive has a file outside of it: ${JSON.stringify(fromBytes(name))}`);
  return parts.join('/');
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
    const capabilities = capabilitiesOf(pax(header)[`${ATTRIBUTE}security.capability`] ?? '');
    const isCapable = capabilities !== undefined && isFile(header) && this.#capable < MAX_CAPABLE;
    if (attributes.length > (isCapable ? 1 : 0)) this.#attributes++;
    switch (header.type) {
      case 'directory':
        return this.#makeDirectory(host, header);
      case 'file':
      case 'contiguous-file':
        await this.#writeFile(host, header, body);
        if (isCapable) await this.#makeCapable(host, capabilities);
        return;
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

  async #makeCapable(host: string, capabilities: Buffer): Promise<void> {
    this.#capable++;
    const fd = openSync(raw(host), constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      await setCapabilities(fd, capabilities);
    } finally {
      closeSync(fd);
    }
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

function linkName(header: Header): string {
  const name = header.linkname ?? '';
  return pax(header).linkpath === undefined ? name : toBytes(name);
}

/** The extended headers of an entry, which the package does not type. */
function pax(header: Header): Readonly<Record<string, string>> {
  return (header.pax ?? {}) as Record<string, string>;
}
