/**
 * One stream of a process, kept on disk from its first byte: written once, read by anyone from any offset, live or later, also after a
 * restart of the server. Bytes are in the page cache before the agent is told to forget them, so a killed server loses none. A long one that has ended and was read
 * to its end may go when its sandbox is at its bound; a file beside it tells how long it was.
 */
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  renameSync,
  rm,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { SkerryError } from '../errors/skerry-error.ts';
import { addPiece } from '../platform/pieces.ts';
import type { OutputBudget } from './output-budget.ts';
import { type OutputTime, OutputTimes, readOutputTimes } from './output-times.ts';
import type { OutputReader } from './sandboxes.ts';

const CHUNK_BYTES = 256 * 1024;
/** Streams up to this size are also kept in memory: most execs print little, and reading it back costs no file access. */
const MEMORY_BYTES = 64 * 1024;
/** Of a longer stream, most bytes that are kept in memory for those who read it while it comes. */
const TAIL_BYTES = 256 * 1024;
/** Shorter pieces of it are joined before they are read. */
const SMALL_BYTES = 32 * 1024;

export class OutputLog implements OutputReader {
  readonly #path: string;
  readonly #budget: OutputBudget;
  readonly #times: OutputTimes | undefined;
  /** Nothing of it is on disk yet. */
  #isNew: boolean;
  #length: number;
  #ended = false;
  #offered = false;
  #fd: number | undefined;
  /** The whole stream while it is small and was written by this process; undefined once it outgrew memory. */
  #memory: Buffer[] | undefined;
  #readers = 0;
  /** What came last, while somebody reads: who keeps up with it need not have it read back. */
  #tail: Uint8Array[] = [];
  #tailStart = 0;
  #waiters: (() => void)[] = [];

  /**
   * Opens the log at `path`, which need not exist yet; what an earlier server wrote there is its beginning.
   * @param isNew it begins with nothing, and nobody looks whether something is there: what an exec of the same id left that was never answered is replaced
   * @param now where it is to be known when its bytes came: Unix milliseconds
   */
  constructor(
    path: string,
    budget: OutputBudget,
    { isNew = false, now }: { readonly isNew?: boolean; readonly now?: (() => number) | undefined } = {},
  ) {
    this.#path = path;
    this.#budget = budget;
    this.#isNew = isNew;
    this.#times = now && new OutputTimes(timesOf(path), now);
    const stored = isNew ? 0 : (statSync(path, { throwIfNoEntry: false })?.size ?? 0);
    this.#length = stored || (isNew ? 0 : releasedBytes(path));
    this.#memory = this.#length === 0 ? [] : undefined;
    budget.use(stored);
  }

  get length(): number {
    return this.#length;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Appends a chunk that starts at `offset`; bytes already there are skipped (a replay after a reconnect). Resolves when it is stored, which at the
   * sandbox's output bound may be never: the abort of the budget's signal, at the sandbox's end, drops it. `chunk` must not be changed afterwards.
   */
  append(offset: number, chunk: Uint8Array): Promise<void> | undefined {
    if (offset > this.#length)
      throw new Error(`output gap: have ${this.#length} bytes, got offset ${offset}`);
    const fresh = chunk.subarray(this.#length - offset);
    if (fresh.length === 0 || this.#ended) return undefined;
    // Neither at the bound nor on a full disk is output lost or the program ended: it waits until there is room again. Meanwhile a new connection may have
    // brought the same bytes, so what is missing is looked at anew.
    const retry = (again: boolean) => (again ? this.append(offset, chunk) : undefined);
    if (!this.#budget.tryUse(fresh.length)) return this.#budget.retryAtBound().then(retry);
    const stored = this.#store(fresh);
    if (stored === fresh.length) return undefined;
    this.#budget.use(stored - fresh.length);
    return this.#budget.retryAfterFullDisk().then(retry);
  }

  /** No more bytes will come: readers at the end finish. Idempotent. */
  end(): void {
    this.#ended = true;
    this.#close();
    this.#wake();
  }

  /** @throws SkerryError `conflict` for what was read before and is released */
  async *read(offset: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    let position = offset;
    const file = { handle: undefined as Awaited<ReturnType<typeof open>> | undefined };
    this.#readers++;
    try {
      while (true) {
        signal.throwIfAborted();
        if (position < this.#length) {
          const chunk =
            this.#fromMemory(position) ?? this.#fromTail(position) ?? (await this.#fromFile(file, position));
          position += chunk.length;
          yield chunk;
        } else if (this.#ended) {
          this.#offer();
          return;
        } else {
          await this.#grown(signal);
        }
      }
    } finally {
      if (--this.#readers === 0) this.#tail = [];
      await file.handle?.close();
    }
  }

  times(): readonly OutputTime[] {
    return this.#times ? readOutputTimes(timesOf(this.#path)) : [];
  }

  /** How many of the bytes there was room for. */
  #store(bytes: Uint8Array): number {
    let stored = bytes.length;
    this.#times?.mark(this.#length);
    try {
      this.#fd ??= openSync(this.#path, this.#isNew ? 'w' : 'a', 0o600);
      this.#isNew = false;
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      this.#close(); // whoever waits for room needs no descriptor
      stored = (existsSync(this.#path) ? statSync(this.#path).size : 0) - this.#length;
    }
    if (stored > 0) this.#advance(bytes.subarray(0, stored));
    return stored;
  }

  /** What fits into memory is not worth remembering. */
  #offer(): void {
    if (this.#offered || this.#length <= MEMORY_BYTES) return;
    this.#offered = true;
    const path = this.#path; // and no more of it: what is offered may outlive everybody's interest in this process
    const bytes = this.#length;
    this.#budget.offer({ bytes, release: () => release(path, bytes) });
  }

  #close(): void {
    this.#times?.close();
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #advance(bytes: Uint8Array): void {
    this.#length += bytes.length;
    if (this.#memory && this.#length <= MEMORY_BYTES) {
      this.#memory.push(Buffer.from(bytes));
    } else {
      this.#memory = undefined;
      this.#keepTail(bytes);
    }
    this.#wake();
  }

  #fromMemory(position: number): Uint8Array | undefined {
    if (!this.#memory) return undefined;
    if (this.#memory.length > 1) this.#memory = [Buffer.concat(this.#memory)];
    return this.#memory[0]?.subarray(position);
  }

  /** Who is further behind than the tail's beginning reads the file. */
  #keepTail(bytes: Uint8Array): void {
    if (this.#readers === 0) return;
    if (this.#tail.length === 0 || this.#length - this.#tailStart > TAIL_BYTES) {
      this.#tail = [];
      this.#tailStart = this.#length - bytes.length;
    }
    addPiece(this.#tail, bytes);
  }

  /** The tail's piece at `position`. Those before it are forgotten: another reader who is still there reads the file. */
  #fromTail(position: number): Uint8Array | undefined {
    while (this.#tail.length > 0 && this.#tailStart <= position) {
      const [piece = new Uint8Array()] = this.#tail;
      const from = position - this.#tailStart;
      // One message for what came in many small pieces meanwhile.
      if (piece.length < SMALL_BYTES && this.#tail.length > 1) this.#tail = [Buffer.concat(this.#tail)];
      else if (from < piece.length) return piece.subarray(from);
      else this.#forgetPiece(piece);
    }
    return undefined;
  }

  #forgetPiece(piece: Uint8Array): void {
    this.#tail.shift();
    this.#tailStart += piece.length;
  }

  async #fromFile(
    file: { handle: Awaited<ReturnType<typeof open>> | undefined },
    position: number,
  ): Promise<Uint8Array> {
    file.handle ??= await open(this.#path, 'r').catch((error) => {
      throw releasedBytes(this.#path) > 0 ? released() : error;
    });
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, this.#length - position));
    const { bytesRead } = await file.handle.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) throw new Error(`output file ${this.#path} is shorter than it was`);
    return buffer.subarray(0, bytesRead);
  }

  #grown(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiters = this.#waiters.filter((waiter) => waiter !== onGrown);
        reject(signal.reason);
      };
      const onGrown = () => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiters.push(onGrown);
    });
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter();
  }
}

/** What there is now of a stream that another server writes to the same path, and when it came. */
export const writtenSoFar = (path: string): Pick<OutputReader, 'length' | 'times'> => ({
  length: statSync(path, { throwIfNoEntry: false })?.size ?? releasedBytes(path),
  times: () => readOutputTimes(timesOf(path)),
});

const timesOf = (path: string): string => `${path}.times`;
const tombstone = (path: string): string => `${path}.released`;

/** How long what was released was, 0 when nothing was. */
function releasedBytes(path: string): number {
  return existsSync(tombstone(path)) ? Number(readFileSync(tombstone(path), 'utf8')) : 0;
}

/** Readers that have it open go on to the end. */
function release(path: string, bytes: number): void {
  writeFileSync(tombstone(path), String(bytes), { mode: 0o600 });
  renameSync(path, `${path}.gone`); // gigabytes take their time to remove
  rm(`${path}.gone`, { force: true }, () => {}); // what cannot be removed goes with the directory
}

const released = () =>
  new SkerryError(
    'conflict',
    'This output was read to its end before and is gone: its sandbox was at the bound of what is kept (--max-output-mib), and newer output needed the room.',
  );
