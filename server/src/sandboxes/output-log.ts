/**
 * One stream of a process, kept on disk from its first byte: written once, read by anyone from any offset, live or later, also after a
 * restart of the server. Bytes are in the page cache before the agent is told to forget them, so a killed server loses none.
 */
import { closeSync, existsSync, openSync, statSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { OutputBudget } from './output-budget.ts';
import type { OutputReader } from './sandboxes.ts';

const CHUNK_BYTES = 256 * 1024;
/** Streams up to this size are also kept in memory: most execs print little, and reading it back costs no file access. */
const MEMORY_BYTES = 64 * 1024;

export class OutputLog implements OutputReader {
  readonly #path: string;
  readonly #budget: OutputBudget;
  #length: number;
  #ended = false;
  #fd: number | undefined;
  /** The whole stream while it is small and was written by this process; undefined once it outgrew memory. */
  #memory: Buffer[] | undefined;
  #waiters: (() => void)[] = [];

  /** Opens the log at `path`, which need not exist yet; what an earlier server wrote there is its beginning. */
  constructor(path: string, budget: OutputBudget) {
    this.#path = path;
    this.#budget = budget;
    this.#length = existsSync(path) ? statSync(path).size : 0;
    this.#memory = this.#length === 0 ? [] : undefined;
    budget.use(this.#length);
  }

  get length(): number {
    return this.#length;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Appends a chunk that starts at `offset`; bytes already there are skipped (a replay after a reconnect). Resolves when it is stored, which at the
   * sandbox's output bound may be never: the abort of the budget's signal, at the sandbox's end, drops it.
   */
  append(offset: number, chunk: Uint8Array): Promise<void> | undefined {
    if (offset > this.#length)
      throw new Error(`output gap: have ${this.#length} bytes, got offset ${offset}`);
    const fresh = chunk.subarray(this.#length - offset);
    if (fresh.length === 0 || this.#ended) return undefined;
    if (!this.#budget.tryUse(fresh.length)) return this.#budget.untilEnded();
    const stored = this.#store(fresh);
    if (stored === fresh.length) return undefined;
    this.#budget.use(stored - fresh.length);
    // A full disk must not lose output nor end the program: it waits, like at the bound, until there is room again. Meanwhile a new connection may have
    // brought the same bytes, so what is missing is looked at anew.
    return this.#budget
      .retryAfterFullDisk()
      .then((again) => (again ? this.append(offset, chunk) : undefined));
  }

  /** No more bytes will come: readers at the end finish. Idempotent. */
  end(): void {
    this.#ended = true;
    this.#close();
    this.#wake();
  }

  async *read(offset: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    let position = offset;
    const file = { handle: undefined as Awaited<ReturnType<typeof open>> | undefined };
    try {
      while (true) {
        signal.throwIfAborted();
        if (position < this.#length) {
          const chunk = this.#fromMemory(position) ?? (await this.#fromFile(file, position));
          position += chunk.length;
          yield chunk;
        } else if (this.#ended) {
          return;
        } else {
          await this.#grown(signal);
        }
      }
    } finally {
      await file.handle?.close();
    }
  }

  /** How many of the bytes there was room for. */
  #store(bytes: Uint8Array): number {
    let stored = bytes.length;
    try {
      this.#fd ??= openSync(this.#path, 'a', 0o600);
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      this.#close(); // whoever waits for room needs no descriptor
      stored = (existsSync(this.#path) ? statSync(this.#path).size : 0) - this.#length;
    }
    if (stored > 0) this.#advance(bytes.subarray(0, stored));
    return stored;
  }

  #close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #advance(bytes: Uint8Array): void {
    this.#length += bytes.length;
    if (this.#memory && this.#length <= MEMORY_BYTES) this.#memory.push(Buffer.from(bytes));
    else this.#memory = undefined;
    this.#wake();
  }

  #fromMemory(position: number): Uint8Array | undefined {
    if (!this.#memory) return undefined;
    if (this.#memory.length > 1) this.#memory = [Buffer.concat(this.#memory)];
    return this.#memory[0]?.subarray(position);
  }

  async #fromFile(
    file: { handle: Awaited<ReturnType<typeof open>> | undefined },
    position: number,
  ): Promise<Uint8Array> {
    file.handle ??= await open(this.#path, 'r');
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
