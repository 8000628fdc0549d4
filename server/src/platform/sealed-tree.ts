/**
 * Trees of files as one file that opens only with its key: an archive encrypted in chunks. What is kept with it is a salt; a key that is derived of both, and is this file's alone, encrypts
 * (AES-256-GCM, NIST SP 800-38D). Chunks are numbered and the last one is marked, so none can be exchanged, left out or cut off.
 *
 * ```
 * file:  MAGIC, salt (32 bytes), chunk...
 * chunk: length of its plaintext (4 bytes, the highest bit set in the last one), ciphertext, tag (16 bytes)
 * ```
 */
import { spawn } from 'node:child_process';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SkerryError } from '../errors/skerry-error.ts';
import { baseEnvironment } from './command.ts';

const MAGIC = Buffer.from('skerry-sealed-1\n');
const SALT_BYTES = 32;
const TAG_BYTES = 16;
const LENGTH_BYTES = 4;
const LAST = 0x8000_0000;
const CHUNK_BYTES = 256 << 10;
/** Owners by number, holes, extended attributes of every kind: what a layer is made of. */
const TAR = ['--numeric-owner', '--xattrs', '--xattrs-include=*', '--sparse', '-f', '-'] as const;

/** Gives the key of 32 bytes of a file with that salt. */
export type KeyOf = (salt: Uint8Array) => Promise<Uint8Array>;

/** Writes all that is in a directory into a new file, which is on the disk then. @throws SkerryError `disk-full`, `internal`; the signal's reason */
export async function sealTree(
  directory: string,
  file: string,
  keyOf: KeyOf,
  signal: AbortSignal,
): Promise<void> {
  const salt = randomBytes(SALT_BYTES);
  const key = await keyOf(salt);
  await withTar(['-c', ...TAR, '-C', directory, '.'], async (tar) => {
    const sink = createWriteStream(file, { mode: 0o600, flush: true });
    await pipeline(sealed(tar.stdout, key, salt), sink, { signal });
  }).catch((error: unknown) => {
    signal.throwIfAborted();
    throw error;
  });
}

/** Puts it into another directory, which must be empty. @throws SkerryError `invalid-argument` for another key; the signal's reason */
export async function openTree(
  file: string,
  keyOf: KeyOf,
  directory: string,
  signal: AbortSignal,
): Promise<void> {
  const source = createReadStream(file, { highWaterMark: CHUNK_BYTES });
  await withTar(['-x', '-p', '--same-owner', ...TAR, '-C', directory], async (tar) => {
    await feed(tar.stdin, opened(source, keyOf), signal);
  })
    .catch((error: unknown) => {
      signal.throwIfAborted();
      throw error;
    })
    .finally(() => source.destroy());
}

/** Writes all pieces for as long as the reader takes any: tar is through at the end of its archive, and what comes after that has to be looked at all the same. Its status tells how it went. */
async function feed(sink: Writable, pieces: AsyncIterable<Buffer>, signal: AbortSignal): Promise<void> {
  let takes = true;
  const stop = () => {
    takes = false;
  };
  sink.on('error', stop).once('close', stop);
  for await (const piece of pieces) {
    signal.throwIfAborted();
    if (!takes || sink.write(piece)) continue;
    const over = new AbortController();
    const waits = { signal: AbortSignal.any([signal, over.signal]) };
    await Promise.race([once(sink, 'drain', waits), once(sink, 'close', waits)]).catch(stop);
    over.abort();
  }
  signal.throwIfAborted();
  sink.end();
}

async function* sealed(plain: Readable, key: Uint8Array, salt: Buffer): AsyncGenerator<Buffer> {
  yield Buffer.concat([MAGIC, salt]);
  let number = 0;
  const seal = (chunk: Buffer, isLast: boolean): Buffer => {
    const head = headOf(chunk.length, isLast);
    const cipher = createCipheriv('aes-256-gcm', key, nonceOf(number++), { authTagLength: TAG_BYTES });
    cipher.setAAD(head);
    return Buffer.concat([head, cipher.update(chunk), cipher.final(), cipher.getAuthTag()]);
  };
  let rest = Buffer.alloc(0);
  for await (const piece of plain) {
    rest = Buffer.concat([rest, piece as Buffer]); // a stream without an encoding gives buffers
    while (rest.length > CHUNK_BYTES) {
      yield seal(rest.subarray(0, CHUNK_BYTES), false);
      rest = rest.subarray(CHUNK_BYTES);
    }
  }
  yield seal(rest, true);
}

async function* opened(source: Readable, keyOf: KeyOf): AsyncGenerator<Buffer> {
  const bytes = new ExactReader(source);
  const start = await bytes.take(MAGIC.length + SALT_BYTES);
  if (!start.subarray(0, MAGIC.length).equals(MAGIC)) throw damaged();
  const key = await keyOf(start.subarray(MAGIC.length));
  for (let number = 0; ; number++) {
    const head = await bytes.take(LENGTH_BYTES);
    const length = head.readUInt32BE() % LAST;
    if (length > CHUNK_BYTES) throw number === 0 ? wrongKey() : damaged();
    const body = await bytes.take(length);
    const decipher = createDecipheriv('aes-256-gcm', key, nonceOf(number), { authTagLength: TAG_BYTES });
    decipher.setAAD(head);
    decipher.setAuthTag(await bytes.take(TAG_BYTES));
    let plain: Buffer;
    try {
      plain = Buffer.concat([decipher.update(body), decipher.final()]);
    } catch (error) {
      throw number === 0 ? wrongKey(error) : damaged(error);
    }
    yield plain;
    if (head.readUInt32BE() >= LAST) return;
  }
}

/** Gives a stream's bytes in the pieces that are asked for. */
class ExactReader {
  readonly #pieces: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(source: Readable) {
    this.#pieces = source[Symbol.asyncIterator]();
  }

  /** @throws SkerryError `internal` when there are not so many */
  async take(length: number): Promise<Buffer> {
    while (this.#rest.length < length) {
      const { value, done } = await this.#pieces.next();
      if (done) throw damaged();
      this.#rest = Buffer.concat([this.#rest, value]);
    }
    const taken = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(length);
    return taken;
  }
}

function headOf(length: number, isLast: boolean): Buffer {
  const head = Buffer.alloc(LENGTH_BYTES);
  head.writeUInt32BE(length + (isLast ? LAST : 0));
  return head;
}

/** No two chunks of one key, which is this file's alone, have the same. */
function nonceOf(number: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(number, 6, 6);
  return nonce;
}

/** Runs tar beside what feeds or reads it. @throws SkerryError `disk-full`, `internal` in tar's own words; first what `use` throws for a fault of the caller's */
async function withTar(
  args: readonly string[],
  use: (tar: { readonly stdin: Writable; readonly stdout: Readable }) => Promise<void>,
): Promise<void> {
  const tar = spawn('tar', args, { env: baseEnvironment(), stdio: 'pipe' });
  const ended = once(tar, 'close');
  ended.catch(() => {}); // awaited below
  let words = '';
  tar.stderr.on('data', (chunk: Buffer) => {
    words = `${words}${chunk}`.slice(0, 2000);
  });
  let failure: unknown;
  try {
    await use(tar);
  } catch (error) {
    failure = error;
    tar.kill('SIGKILL');
  }
  const [code] = await ended;
  if (failure instanceof SkerryError) throw failure;
  if (/No space left on device/.test(words) || (failure as NodeJS.ErrnoException)?.code === 'ENOSPC') {
    throw new SkerryError('disk-full', 'The machine is out of disk space for a copy of the files.');
  }
  if (failure === undefined && code === 0) return;
  throw new SkerryError('internal', `tar ended with ${code}: ${words}`, { cause: failure });
}

const wrongKey = (cause?: unknown): SkerryError =>
  new SkerryError('invalid-argument', 'The encryption key is not the one that this was encrypted with.', {
    cause,
  });
const damaged = (cause?: unknown): SkerryError =>
  new SkerryError('internal', 'What is encrypted here is damaged.', { cause });
