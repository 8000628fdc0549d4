/**
 * Layers that open only with a key of the caller's: one file, an archive encrypted in chunks. The key is nowhere but in the call; what is kept with the file is a salt, and a key derived
 * of both encrypts (scrypt, RFC 7914; AES-256-GCM, NIST SP 800-38D). Chunks are numbered and the last one is marked, so none can be exchanged, left out or cut off.
 *
 * ```
 * file:  MAGIC, salt (32 bytes), chunk...
 * chunk: length of its plaintext (4 bytes, the highest bit set in the last one), ciphertext, tag (16 bytes)
 * ```
 */
import { spawn } from 'node:child_process';
import { createCipheriv, createDecipheriv, createHash, randomBytes, scrypt } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { SkerryError } from '../errors/skerry-error.ts';
import { baseEnvironment } from '../platform/command.ts';

const MAGIC = Buffer.from('skerry-sealed-1\n');
const SALT_BYTES = 32;
const KEY_BYTES = 32;
const TAG_BYTES = 16;
const LENGTH_BYTES = 4;
const LAST = 0x8000_0000;
const CHUNK_BYTES = 256 << 10;
/** Owners by number, holes, extended attributes of every kind: what a layer is made of. */
const TAR = ['--numeric-owner', '--xattrs', '--xattrs-include=*', '--sparse', '-f', '-'] as const;

const stretch = promisify<Uint8Array, Uint8Array, number, Buffer>(scrypt);
/** scrypt takes keys that differ by zeros at the end for the same one; hashes of them do not. */
const deriveKey = (secret: Uint8Array, salt: Uint8Array): Promise<Buffer> =>
  stretch(createHash('sha256').update(secret).digest(), salt, KEY_BYTES);

/** Replaces what is in a directory by one file that opens only with the key. */
export async function sealDirectory(directory: string, key: Uint8Array): Promise<void> {
  const file = `${directory}.sealed`;
  const salt = randomBytes(SALT_BYTES);
  const derived = await deriveKey(key, salt);
  await withTar(['-c', ...TAR, '-C', directory, '.'], async (tar) => {
    const sink = createWriteStream(file, { mode: 0o600, flush: true });
    await pipeline(sealed(tar.stdout, derived, salt), sink);
  });
  await rm(directory, { recursive: true });
  await mkdir(directory, { mode: 0o700 });
  await rename(file, join(directory, 'sealed'));
}

/** Puts what `sealDirectory` took into another directory, which must be empty. @throws SkerryError `invalid-argument` for another key; the signal's reason */
export async function openDirectory(
  sealedIn: string,
  key: Uint8Array,
  directory: string,
  signal: AbortSignal,
): Promise<void> {
  const source = createReadStream(join(sealedIn, 'sealed'), { highWaterMark: CHUNK_BYTES });
  await withTar(['-x', '-p', '--same-owner', ...TAR, '-C', directory], async (tar) => {
    await pipeline(opened(source, key), tar.stdin, { signal });
  }).catch((error: unknown) => {
    signal.throwIfAborted();
    throw error;
  });
}

async function* sealed(plain: Readable, key: Buffer, salt: Buffer): AsyncGenerator<Buffer> {
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

async function* opened(source: Readable, secret: Uint8Array): AsyncGenerator<Buffer> {
  const bytes = new ExactReader(source);
  const start = await bytes.take(MAGIC.length + SALT_BYTES);
  if (!start.subarray(0, MAGIC.length).equals(MAGIC)) throw damaged();
  const key = await deriveKey(secret, start.subarray(MAGIC.length));
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
  new SkerryError('invalid-argument', 'The encryption key is not the one that this image was made with.', {
    cause,
  });
const damaged = (cause?: unknown): SkerryError =>
  new SkerryError('internal', 'An encrypted image is damaged.', { cause });
