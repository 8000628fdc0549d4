/**
 * Files on their way into a volume, block by block: `<directory>/uploads/<UploadId>/<number>`, each as long as it will be and without holes filled in yet.
 * A block that is known from another file, of any volume or upload, is copied from there and need not be sent.
 *
 * A file gets its place in a layer by a second name, so that a server killed in the middle of a batch has lost no block of it. From then on nothing is written to
 * it: the layer's file is the same.
 */
import { createHash } from 'node:crypto';
import { constants, mkdirSync, readdirSync, statSync } from 'node:fs';
import { type FileHandle, link, mkdir, open, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { SkerryError } from '../errors/skerry-error.ts';
import { isUploadId, newUploadId, type UploadId, type VolumeLayerId } from '../ids.ts';
import { raw, toBytes } from '../platform/byte-paths.ts';
import { roomAt } from '../platform/kept-room.ts';
import { Limiter } from '../platform/limiter.ts';
import type { MachineRoom } from '../platform/machine-room.ts';
import { clip } from '../platform/text.ts';
import type { BlockPlace, BlockRepository } from './repositories.ts';
import { BLOCK_BYTES, type BlockFile } from './volumes.ts';

/** How long the blocks of an upload wait for the rest. */
const ABANDONED_MS = 24 * 60 * 60_000;
/** The same where there is hardly any room left: an upload that somebody still works at goes on sooner. */
const SHORT_ABANDONED_MS = 10 * 60_000;
/** Less room than this is hardly any. */
const SHORT_BYTES = 2 ** 30;
/** Of a block of nothing but zeros. */
const NO_BYTES = createHash('sha256').digest('hex');
/** As the errors call it. */
const UPLOAD = 'an upload';
/** Files looked at at a time. */
const CONCURRENT_FILES = 16;

/** One block that a client is asked for. */
export interface BlockTicket {
  readonly upload: UploadId;
  readonly file: number;
  readonly block: number;
  readonly sha256Hex: string;
  /** The most it can have. */
  readonly bytes: number;
}

/** An upload and what it lacks. */
export interface Staged {
  readonly upload: UploadId;
  readonly missing: readonly BlockTicket[];
}

export interface BlockUploadsOptions {
  readonly directory: string;
  /** Where a layer's tree is on the host, a byte string. */
  readonly layerRoot: (id: VolumeLayerId) => string;
  readonly blocks: BlockRepository;
  readonly room: MachineRoom;
  /** Unix milliseconds. */
  readonly now: () => number;
}

export class BlockUploads {
  readonly #uploads: string;
  readonly #layerRoot: (id: VolumeLayerId) => string;
  readonly #blocks: BlockRepository;
  readonly #room: MachineRoom;
  readonly #now: () => number;
  /** How many blocks each is being sent at the moment. */
  readonly #receiving = new Map<UploadId, number>();

  constructor({ directory, layerRoot, blocks, room, now }: BlockUploadsOptions) {
    this.#uploads = join(directory, 'uploads');
    this.#layerRoot = layerRoot;
    this.#blocks = blocks;
    this.#room = room;
    this.#now = now;
    mkdirSync(this.#uploads, { recursive: true, mode: 0o700 });
  }

  /**
   * Makes room for files, or finds what an earlier call made for the same ones, and copies what is known.
   * @throws SkerryError `invalid-argument` where sizes and blocks do not fit, `disk-full` when what is missing does not
   */
  async stage(files: readonly BlockFile[]): Promise<Staged> {
    for (const file of files) checkBlocks(file);
    const earlier = files.flatMap(({ blocks }) => blocks).find(({ receipt }) => receipt)?.receipt ?? '';
    const resumed = await this.#resumable(earlier, files);
    if (resumed) return this.#stage(resumed, files);
    const upload = newUploadId();
    try {
      await this.#room.require({ bytes: 0, files: files.length + 1, what: UPLOAD });
      return await this.#stage(upload, files);
    } catch (error) {
      await this.discard(upload);
      throw error;
    }
  }

  async #stage(upload: UploadId, files: readonly BlockFile[]): Promise<Staged> {
    await mkdir(this.#directory(upload), { recursive: true, mode: 0o700 });
    await this.#goOn(upload);
    const limiter = new Limiter(CONCURRENT_FILES);
    const asked = new Set<string>();
    const staged = files.map((file, index) => limiter.run(() => this.#stageFile(upload, index, file, asked)));
    await Promise.allSettled(staged); // nothing is written any more when one has failed
    const missing = (await Promise.all(staged)).flat();
    const bytes = missing.reduce((sum, block) => sum + block.bytes, 0);
    await this.#room.require({ bytes, what: UPLOAD });
    return { upload, missing };
  }

  /** @returns what the client says of it when all are there @throws SkerryError `invalid-argument` when it is another block, `not-found` for an upload that was given up, `disk-full` */
  async receive(ticket: BlockTicket, body: Readable, signal: AbortSignal): Promise<string> {
    const { upload } = ticket;
    this.#receiving.set(upload, (this.#receiving.get(upload) ?? 0) + 1);
    try {
      return await this.#receive(ticket, body, signal);
    } finally {
      const others = (this.#receiving.get(upload) ?? 1) - 1;
      if (others > 0) this.#receiving.set(upload, others);
      else this.#receiving.delete(upload);
    }
  }

  async #receive(ticket: BlockTicket, body: Readable, signal: AbortSignal): Promise<string> {
    const { upload, file, block, sha256Hex, bytes } = ticket;
    await using handle = await this.#open(upload, file);
    const offset = block * BLOCK_BYTES;
    const hash = createHash('sha256');
    let length = 0;
    using room = await this.#room.take({ bytes, what: UPLOAD });
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) {
        signal.throwIfAborted();
        if (length + chunk.length > bytes) throw wrongBlock(ticket);
        hash.update(chunk);
        await handle.write(chunk, 0, chunk.length, offset + length);
        length += chunk.length;
        room.wrote(chunk.length);
      }
      if (hash.digest('hex') !== sha256Hex) throw wrongBlock(ticket);
    } catch (error) {
      // What stays unwritten of a block is zeros.
      await handle.write(Buffer.alloc(length), 0, length, offset);
      throw error;
    }
    this.#blocks.insert(sha256Hex, { holder: upload, path: String(file), offset, length });
    await this.#goOn(upload);
    return upload;
  }

  /** Gives a file of an upload its place in a layer. @throws SkerryError `unavailable` while blocks of the upload are still being sent */
  async place(upload: UploadId, file: number, target: string): Promise<void> {
    if (this.#receiving.has(upload)) {
      throw new SkerryError(
        'unavailable',
        'Blocks of this upload are still being sent: ask again when they are there.',
      );
    }
    await link(join(this.#directory(upload), String(file)), raw(target));
  }

  /** All its files are in their places, under these paths. */
  async finish(upload: UploadId, layer: VolumeLayerId, paths: ReadonlyMap<string, string>): Promise<void> {
    this.#blocks.move(upload, layer, paths);
    await rm(this.#directory(upload), { recursive: true, force: true });
  }

  async discard(upload: UploadId): Promise<void> {
    this.#blocks.forgetHolder(upload);
    await rm(this.#directory(upload), { recursive: true, force: true });
  }

  /** Removes uploads that nobody went on with for a day, or for minutes where there is hardly any room. */
  async sweep(nowMs: number): Promise<void> {
    const short = (await roomAt(this.#uploads)) < SHORT_BYTES;
    const abandonedMs = short ? SHORT_ABANDONED_MS : ABANDONED_MS;
    for (const name of readdirSync(this.#uploads)) {
      if (!isUploadId(name) || this.#receiving.has(name)) continue;
      if (statSync(this.#directory(name)).mtimeMs < nowMs - abandonedMs) await this.discard(name);
    }
  }

  /** Its directory's time is when somebody last went on with it. */
  async #goOn(upload: UploadId): Promise<void> {
    const seconds = this.#now() / 1000;
    await utimes(this.#directory(upload), seconds, seconds);
  }

  #directory(upload: UploadId): string {
    return join(this.#uploads, upload);
  }

  /** An upload of these very files; what a client says is checked against what was received. */
  async #resumable(receipt: string, files: readonly BlockFile[]): Promise<UploadId | undefined> {
    if (!isUploadId(receipt)) return undefined;
    for (const [index, { size, blocks }] of files.entries()) {
      const received = this.#blocks.received(receipt, String(index));
      for (const [offset, sha256Hex] of received) {
        if (blocks[offset / BLOCK_BYTES]?.sha256Hex !== sha256Hex) return undefined;
      }
      const path = join(this.#directory(receipt), String(index));
      const stats = statSync(path, { throwIfNoEntry: false });
      if (stats?.size !== size) return undefined;
      const lacks = ({ sha256Hex }: { sha256Hex: string }, block: number) =>
        sha256Hex !== NO_BYTES && !received.has(block * BLOCK_BYTES);
      if (isPlaced(stats) && blocks.some(lacks)) return undefined;
    }
    return receipt;
  }

  async #stageFile(
    upload: UploadId,
    index: number,
    file: BlockFile,
    asked: Set<string>,
  ): Promise<readonly BlockTicket[]> {
    const path = join(this.#directory(upload), String(index));
    await using handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    await handle.truncate(file.size);
    const received = this.#blocks.received(upload, String(index));
    const missing: BlockTicket[] = [];
    for (const [block, { sha256Hex }] of file.blocks.entries()) {
      const offset = block * BLOCK_BYTES;
      if (sha256Hex === NO_BYTES || received.has(offset)) continue;
      const bytes = Math.min(BLOCK_BYTES, file.size - offset);
      const known = await this.#read(sha256Hex, bytes);
      if (known) {
        using _room = await this.#room.take({ bytes: known.length, what: UPLOAD });
        await handle.write(known, 0, known.length, offset);
        this.#blocks.insert(sha256Hex, { holder: upload, path: String(index), offset, length: known.length });
      } else if (!asked.has(sha256Hex)) {
        asked.add(sha256Hex);
        missing.push({ upload, file: index, block, sha256Hex, bytes });
      }
    }
    return missing;
  }

  /** The bytes of a known block; what is not as it was recorded is forgotten. */
  async #read(sha256Hex: string, atMost: number): Promise<Buffer | undefined> {
    for (let place = this.#blocks.find(sha256Hex); place; place = this.#blocks.find(sha256Hex)) {
      const bytes = await this.#bytesAt(place);
      if (bytes && createHash('sha256').update(bytes).digest('hex') === sha256Hex)
        return bytes.length <= atMost ? bytes : undefined;
      this.#blocks.forget(place);
    }
    return undefined;
  }

  async #bytesAt({ holder, path, offset, length }: BlockPlace): Promise<Buffer | undefined> {
    const root = isUploadId(holder) ? toBytes(this.#directory(holder)) : this.#layerRoot(holder);
    try {
      await using handle = await open(raw(`${root}/${path}`), 'r');
      const bytes = Buffer.alloc(length);
      const { bytesRead } = await handle.read(bytes, 0, length, offset);
      return bytesRead === length ? bytes : undefined;
    } catch {
      return undefined; // its file is gone
    }
  }

  async #open(upload: UploadId, file: number): Promise<FileHandle> {
    const over = (cause?: unknown) =>
      new SkerryError('not-found', 'This upload was finished or given up: start it again.', { cause });
    const handle = await open(join(this.#directory(upload), String(file)), 'r+').catch((error: unknown) => {
      throw over(error);
    });
    if (!isPlaced(await handle.stat())) return handle;
    await handle.close();
    throw over();
  }
}

/** Whether a layer has this file as well. */
const isPlaced = ({ nlink }: { readonly nlink: number }): boolean => nlink > 1;

function checkBlocks({ path, size, blocks }: BlockFile): void {
  const expected = Math.ceil(size / BLOCK_BYTES);
  if (blocks.length === expected) return;
  throw new SkerryError(
    'invalid-argument',
    `'${clip(path)}' has ${size} bytes and so ${expected} blocks, not ${blocks.length}.`,
  );
}

const wrongBlock = ({ sha256Hex }: BlockTicket): SkerryError =>
  new SkerryError('invalid-argument', `The bytes that were sent do not have the SHA-256 ${sha256Hex}.`);
