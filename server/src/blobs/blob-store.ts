/**
 * Content-addressed files: `<root>/sha256/ab/abcdef…`. An upload is written to `<root>/incoming` and renamed once its length and digest were checked, so
 * a file under its digest is always whole. Files are never changed, and shared read-only with sandboxes and builds. A file's modification time is its last use:
 * whoever asks for it, or whether it is there, has used it.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createWriteStream, existsSync, mkdirSync, statSync, utimesSync } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SkerryError, toSkerryError } from '../errors/skerry-error.ts';
import type { BlobId } from '../ids.ts';
import { ExpiringSignature } from '../platform/expiring-signature.ts';
import { MachineRoom } from '../platform/machine-room.ts';
import { clip } from '../platform/text.ts';
import { emptied, removeOutOfSight } from '../platform/unfinished.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type BlobAnnouncement, decodeBlobId, encodeBlobId, isSha256Hex } from './blob-id.ts';
import type { BlobStore, BlobUse } from './blobs.ts';

/** Python recognizes this text and says that the file changed during its upload. */
export const DIGEST_MISMATCH = 'The Content-MD5 you specified did not match what we received.';
export const BLOB_URL_PREFIX = '/blobs/';

export class FileBlobStore implements BlobStore {
  readonly #root: string;
  readonly #signatures: ExpiringSignature;
  readonly #now: () => number;
  readonly #logger: Pick<Logger, 'error'>;
  readonly #room: MachineRoom;
  /** How many builds read each file. */
  readonly #held = new Map<string, number>();

  /**
   * @param root directory of its own; half uploads of an earlier run are removed
   * @param urlKey signs upload and download URLs; must be the same after a restart
   * @param now Unix milliseconds
   * @param room what uploads may fill of the disk
   */
  constructor(
    root: string,
    urlKey: Uint8Array,
    logger: Pick<Logger, 'error'>,
    now: () => number = Date.now,
    room = new MachineRoom(root),
  ) {
    this.#root = root;
    this.#room = room;
    this.#signatures = new ExpiringSignature(urlKey, now);
    this.#now = now;
    this.#logger = logger;
    emptied(join(root, 'incoming'), (err) => logger.error({ err }, 'blobs.incoming-not-emptied'));
    mkdirSync(join(root, 'sha256'), { recursive: true, mode: 0o700 });
  }

  has(sha256Hex: string): boolean {
    return isSha256Hex(sha256Hex) && this.#touch(this.#file(sha256Hex));
  }

  hold(files: readonly string[]): () => void {
    for (const file of files) this.#held.set(file, (this.#held.get(file) ?? 0) + 1);
    return () => {
      for (const file of files) {
        const left = (this.#held.get(file) ?? 0) - 1;
        if (left > 0) this.#held.set(file, left);
        else this.#held.delete(file);
      }
    };
  }

  async uses(): Promise<readonly BlobUse[]> {
    const uses: BlobUse[] = [];
    const root = join(this.#root, 'sha256');
    for (const folder of await readdir(root)) {
      for (const sha256Hex of (await readdir(join(root, folder))).filter(isSha256Hex)) {
        const stats = await stat(this.#file(sha256Hex)).catch(() => undefined);
        if (stats) uses.push({ sha256Hex, bytes: stats.size, lastUsedMs: stats.mtimeMs });
      }
    }
    return uses;
  }

  isUnused({ sha256Hex, lastUsedMs }: BlobUse): boolean {
    const file = this.#file(sha256Hex);
    return !this.#held.has(file) && statSync(file, { throwIfNoEntry: false })?.mtimeMs === lastUsedMs;
  }

  async remove(digests: readonly string[]): Promise<void> {
    await removeOutOfSight(
      digests.map((digest) => this.#file(digest)),
      join(this.#root, 'incoming'),
      (path, err) => this.#logger.error({ blob: basename(path), err }, 'blobs.not-removed'),
    );
  }

  async putBytes(sha256Hex: string, bytes: Uint8Array): Promise<void> {
    const digest = createHash('sha256').update(bytes).digest('hex');
    if (digest !== sha256Hex) throw digestMismatch(sha256Hex);
    if (this.has(sha256Hex)) return;
    using _room = await this.#room.take({ bytes: bytes.length, files: 1, what: UPLOAD });
    await this.#place(sha256Hex, async (temporary) => {
      const file = await open(temporary, 'wx', 0o600);
      await using opened = new AsyncDisposableStack();
      opened.defer(() => file.close());
      await file.writeFile(bytes);
      await file.datasync();
    });
  }

  path(sha256Hex: string): string {
    if (!this.has(sha256Hex)) throw new SkerryError('not-found', `Content '${clip(sha256Hex)}' not found.`);
    return this.#file(sha256Hex);
  }

  async requireRoom({ sha256Hex, length }: BlobAnnouncement): Promise<void> {
    if (!this.has(sha256Hex)) await this.#room.require({ bytes: length, files: 1, what: UPLOAD });
  }

  announce(upload: BlobAnnouncement): BlobId {
    return encodeBlobId(upload);
  }

  async receive(id: BlobId, body: Readable, signal: AbortSignal): Promise<{ readonly md5Hex: string }> {
    const announced = decodeBlobId(id);
    const sha256 = createHash('sha256');
    const md5 = createHash('md5'); // what the clients compare the ETag with; integrity rests on the SHA-256
    let length = 0;
    using room = await this.#room.take({ bytes: announced.length, files: 1, what: UPLOAD });
    const meter = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        length += chunk.length;
        if (length > announced.length) return done(wrongLength(announced.length, 'more'));
        sha256.update(chunk);
        md5.update(chunk);
        room.wrote(chunk.length);
        done(null, chunk);
      },
    });
    await this.#place(announced.sha256Hex, async (temporary) => {
      const file = createWriteStream(temporary, { flags: 'wx', mode: 0o600, flush: true });
      await pipeline(body, meter, file, { signal });
      if (length < announced.length) throw wrongLength(announced.length, 'only', length);
      if (sha256.digest('hex') !== announced.sha256Hex) throw digestMismatch(announced.sha256Hex);
    });
    return { md5Hex: md5.digest('hex') };
  }

  digestOf(id: BlobId): string {
    const { sha256Hex } = decodeBlobId(id);
    if (!this.has(sha256Hex)) throw new SkerryError('conflict', 'The upload of this blob is not complete.');
    return sha256Hex;
  }

  urlPath(id: BlobId): string {
    return `${BLOB_URL_PREFIX}${id}?signature=${this.#signatures.sign(id)}`;
  }

  authorize(url: string): BlobId {
    const { pathname, searchParams } = new URL(url, 'http://unused');
    const id = pathname.startsWith(BLOB_URL_PREFIX) ? pathname.slice(BLOB_URL_PREFIX.length) : '';
    this.#signatures.verify(id, searchParams.get('signature') ?? '');
    return id as BlobId; // signed, so it came from urlPath
  }

  #file(sha256Hex: string): string {
    return join(this.#root, 'sha256', sha256Hex.slice(0, 2), sha256Hex);
  }

  /** @returns whether it is there */
  #touch(file: string): boolean {
    const seconds = this.#now() / 1000;
    try {
      utimesSync(file, seconds, seconds);
      return true;
    } catch {
      return existsSync(file); // on a file system that takes no change it is there all the same
    }
  }

  /** Lets `write` fill a temporary file and gives it its name; removes it when that fails. */
  async #place(sha256Hex: string, write: (temporary: string) => Promise<void>): Promise<void> {
    const temporary = join(this.#root, 'incoming', randomBytes(12).toString('hex'));
    try {
      await using undo = new AsyncDisposableStack();
      undo.defer(() => rm(temporary, { force: true })); // not there any more once it has its name
      await write(temporary);
      this.#touch(temporary);
      const target = this.#file(sha256Hex);
      await mkdir(dirname(target), { recursive: true, mode: 0o700 });
      await rename(temporary, target);
    } catch (error) {
      throw toSkerryError(error);
    }
  }
}

const UPLOAD = 'an upload';

const digestMismatch = (sha256Hex: string): SkerryError =>
  new SkerryError(
    'invalid-argument',
    `${DIGEST_MISMATCH} The content does not have the SHA-256 ${clip(sha256Hex)}.`,
  );

const wrongLength = (announced: number, how: 'more' | 'only', got?: number): SkerryError =>
  new SkerryError(
    'invalid-argument',
    how === 'more'
      ? `More than the announced ${announced} bytes were sent.`
      : `Only ${got} of the announced ${announced} bytes were sent.`,
  );
