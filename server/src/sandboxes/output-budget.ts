/**
 * How much output a sandbox may keep on disk, shared by all its processes. At the bound, what was read to its end makes room for what comes, oldest first; when there
 * is none of that its programs wait. Nothing that nobody read is dropped.
 */
import { delay } from '../platform/wait.ts';

const FULL_DISK_RETRY_MS = 500;

/** A stream that has ended and that somebody read to its end. */
export interface ReadOutput {
  readonly bytes: number;
  /** Takes it off the disk. */
  release(): void;
}

export class OutputBudget {
  readonly #limitBytes: number;
  readonly #signal: AbortSignal;
  readonly #onBlocked: (reason: 'bound' | 'disk-full') => void;
  /** Oldest first. */
  readonly #read = new Set<ReadOutput>();
  #waiting: (() => void)[] = [];
  #usedBytes = 0;
  #said = new Set<string>();

  /**
   * @param signal aborted when the sandbox ends; who waits for room then gets none
   * @param onBlocked called once per reason, when a program first has to wait
   */
  constructor(limitBytes: number, signal: AbortSignal, onBlocked: (reason: 'bound' | 'disk-full') => void) {
    this.#limitBytes = limitBytes;
    this.#signal = signal;
    this.#onBlocked = onBlocked;
  }

  /** Counts bytes that are there already. */
  use(bytes: number): void {
    this.#usedBytes += bytes;
  }

  tryUse(bytes: number): boolean {
    for (const output of this.#read) {
      if (this.#usedBytes + bytes <= this.#limitBytes) break;
      this.#read.delete(output);
      output.release();
      this.#usedBytes -= output.bytes;
    }
    if (this.#usedBytes + bytes > this.#limitBytes) return false;
    this.#usedBytes += bytes;
    return true;
  }

  /** From now on this may be released. Its bytes were counted by `use` or `tryUse`. */
  offer(output: ReadOutput): void {
    this.#read.add(output);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  /** Waits at the bound until there may be room again. False when the sandbox ended meanwhile. */
  retryAtBound(): Promise<boolean> {
    this.#say('bound');
    const signal = this.#signal;
    if (signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const onAbort = () => resolve(false);
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.push(() => {
        signal.removeEventListener('abort', onAbort);
        resolve(true);
      });
    });
  }

  /** Waits a moment for room on a full disk. False when the sandbox ended meanwhile. */
  async retryAfterFullDisk(): Promise<boolean> {
    this.#say('disk-full');
    await delay(FULL_DISK_RETRY_MS, this.#signal).catch(() => {});
    return !this.#signal.aborted;
  }

  #say(reason: 'bound' | 'disk-full'): void {
    if (this.#said.has(reason)) return;
    this.#said.add(reason);
    this.#onBlocked(reason);
  }
}
