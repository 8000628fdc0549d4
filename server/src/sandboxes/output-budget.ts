/** How much output a sandbox may keep on disk, shared by all its processes. At the bound its programs wait; nothing is dropped. */
import { delay } from '../platform/wait.ts';

const FULL_DISK_RETRY_MS = 500;

export class OutputBudget {
  readonly #limitBytes: number;
  readonly #signal: AbortSignal;
  readonly #onBlocked: (reason: 'bound' | 'disk-full') => void;
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
    if (this.#usedBytes + bytes > this.#limitBytes) return false;
    this.#usedBytes += bytes;
    return true;
  }

  /** What a program at the bound waits for: output is never removed while its sandbox lives, so there is room for nothing more. */
  untilEnded(): Promise<void> {
    this.#say('bound');
    if (this.#signal.aborted) return Promise.resolve();
    return new Promise((resolve) => this.#signal.addEventListener('abort', () => resolve(), { once: true }));
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
