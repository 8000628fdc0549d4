/** Network slots that are made ahead, so that a start need not wait for one. */
import type { Logger } from '../telemetry/logger.ts';

export interface ReadyPoolParts {
  /** How many are kept ready. */
  readonly size: number;
  /** A refill waits this long, so that it does not compete with the start that took a slot. */
  readonly delayMs: number;
  /** Takes up to so many free slots at once, before any wait. */
  readonly claim: (count: number) => readonly number[];
  /** Makes them; when it fails it gives them back. */
  readonly make: (slots: readonly number[]) => Promise<void>;
  readonly logger: Pick<Logger, 'warn'>;
}

export class ReadyPool {
  readonly #parts: ReadyPoolParts;
  readonly #ready: number[] = [];
  #timer: NodeJS.Timeout | undefined;
  #work: Promise<void> | undefined;
  /** Somebody took one while a refill was under way. */
  #takenMeanwhile = false;
  #closed = false;

  constructor(parts: ReadyPoolParts) {
    this.#parts = parts;
  }

  /** One that is ready; undefined when the caller must make its own. Either way the pool is filled up soon. */
  take(): number | undefined {
    const slot = this.#ready.shift();
    this.#refillSoon();
    return slot;
  }

  /** Fills the pool up in the background. */
  refill(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#closed) return;
    if (this.#work) {
      this.#takenMeanwhile = true;
      return;
    }
    this.#work = this.#fill().finally(() => {
      this.#work = undefined;
      if (this.#takenMeanwhile) this.#refillSoon();
      this.#takenMeanwhile = false;
    });
  }

  /** Ends when nothing is made any more. @returns the slots that nobody took */
  async close(): Promise<readonly number[]> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#work;
    return this.#ready.splice(0);
  }

  /** Never rejects. */
  async #fill(): Promise<void> {
    try {
      const slots = this.#parts.claim(this.#parts.size - this.#ready.length);
      if (slots.length === 0) return;
      await this.#parts.make(slots);
      this.#ready.push(...slots);
    } catch (err) {
      // The next start makes its own and reports what is wrong.
      this.#parts.logger.warn({ err }, 'network.refill-failed');
    }
  }

  #refillSoon(): void {
    if (this.#closed || this.#timer) return;
    this.#timer = setTimeout(() => this.refill(), this.#parts.delayMs);
    this.#timer.unref();
  }
}
