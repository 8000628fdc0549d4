/** Reads tar archives, compressed or not, which may be hostile: what is in one is bounded, and names are byte strings. */
import { closeSync, createReadStream, openSync, readSync } from 'node:fs';
import { Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { extract, type Header } from 'tar-stream';
import { fromBytes, raw } from '../../platform/byte-paths.ts';
import { decompressedBy, type Packer } from './decompress.ts';
import { EditError } from './edit.ts';
import { paxRecords } from './pax-records.ts';

const MAX_ENTRIES = 1_000_000;
const MAX_BYTES = 64 * 2 ** 30;
/** What tar counts in. */
const BLOCK = 512;

/** A tar archive, or what it is compressed with, told by the first bytes. */
export function archiveKind(file: string): 'tar' | 'gzip' | 'zstd' | Packer | undefined {
  const head = firstBytes(file);
  if (head.readUInt16BE(0) === 0x1f8b) return 'gzip';
  if (head.readUInt32BE(0) === 0x28b52ffd) return 'zstd';
  const text = head.toString('latin1');
  if (text.startsWith('\xfd7zXZ\0')) return 'xz';
  if (/^BZh[1-9]/.test(text)) return 'bzip2';
  return text.slice(257, 262) === 'ustar' ? 'tar' : undefined;
}

/** As much as a header of tar takes; zeros where the file has less. */
function firstBytes(file: string): Buffer {
  const head = Buffer.alloc(BLOCK);
  const fd = openSync(raw(file), 'r');
  try {
    readSync(fd, head, 0, head.length, 0);
  } finally {
    closeSync(fd);
  }
  return head;
}

/** Whether ADD unpacks a file: its content says so, and what is compressed but no archive is copied as it is. */
export async function isArchive(file: string): Promise<boolean> {
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
  } catch (error) {
    // What cannot be decompressed is no archive, unless it is the machine that cannot.
    if (error instanceof EditError) throw error;
  } finally {
    source.destroy();
  }
  return Buffer.concat(chunks).subarray(0, BLOCK);
}

/** A file and what is in it, which are the same where it is not compressed. Errors of the first are the second's too. */
function open(file: string): { readonly source: Readable; readonly decompressed: Readable } {
  const kind = archiveKind(file);
  if (kind === 'xz' || kind === 'bzip2') {
    const decompressed = Readable.from(decompressedBy(kind, file), { objectMode: false });
    return { source: decompressed, decompressed };
  }
  const source: Readable = createReadStream(raw(file));
  if (kind !== 'gzip' && kind !== 'zstd') return { source, decompressed: source };
  const decompressed = kind === 'gzip' ? createGunzip() : createZstdDecompress();
  source.on('error', (error) => decompressed.destroy(error));
  return { source, decompressed: source.pipe(decompressed) };
}

/** What is in an archive, bounded; names and extended headers are byte strings. */
export async function* entries(
  file: string,
  maxBytes = MAX_BYTES,
): AsyncGenerator<[Header, AsyncIterable<Buffer>]> {
  const { source, decompressed } = open(file);
  const archive = readerOfBytes();
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
      yield [entry.header, contentOf(entry as AsyncIterable<Buffer>)];
      entry.resume();
    }
  } catch (error) {
    throw damageOr(error);
  } finally {
    source.destroy();
  }
}

/** Whoever reads it is told of damage in the same words. */
async function* contentOf(entry: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* entry;
  } catch (error) {
    throw damageOr(error);
  }
}

/** The error itself where it is the machine's, or was told already. */
function damageOr(error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (error instanceof EditError || (code !== undefined && /^E[A-Z]+$/.test(code))) return error;
  return new EditError(`the archive is damaged: ${error instanceof Error ? error.message : String(error)}`);
}

type Pax = Readonly<Record<string, string>>;

/** What the package's reader is inside, which its types do not say. */
interface Inside {
  readonly _header: Header;
  _pax: Pax | null;
  _paxGlobal: Pax | null;
  _decodeLongHeader(data: Uint8Array): void;
}

/** The package's reader with all of an archive's text as byte strings. By itself it takes extended headers for UTF-8, where names lose other bytes, and capabilities theirs. */
function readerOfBytes(): ReturnType<typeof extract> {
  const reader = extract({ filenameEncoding: 'latin1' } as object); // missing from its types
  const inside = reader as unknown as Inside;
  const decode = inside._decodeLongHeader.bind(reader);
  inside._decodeLongHeader = (data) => {
    const type: string = inside._header.type ?? '';
    if (type === 'pax-global-header') inside._paxGlobal = paxOf(data);
    else if (type === 'pax-header') inside._pax = { ...inside._paxGlobal, ...paxOf(data) };
    else decode(data);
  };
  return reader;
}

function paxOf(data: Uint8Array): Pax {
  const records = paxRecords(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
  if (!records) throw new EditError('the archive is damaged: an extended header is none');
  return Object.fromEntries(records.map(({ key, value }) => [key, value]));
}

/** The extended header of an entry, which the package does not type. */
export function pax(header: Header): Pax {
  return (header.pax ?? {}) as Pax;
}

/** The entry's name as a byte string without leading slashes. @throws EditError for one outside */
export function entryPath({ name }: Header): string {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..') || name.includes('\0'))
    throw new EditError(`the archive has a file outside of it: ${JSON.stringify(fromBytes(name))}`);
  return parts.join('/');
}
