/** Things that are made ahead, so that a start need not wait for one. */
import type { Logger } from '../telemetry/logger.ts';

export interface ReadyPoolParts<Key> {
  /** Whose they are: what a failure is called in the log. */
  readonly name: string;
  /** How many are kept ready. */
  readonly size: number;
  /** A refill waits this long, and again for as long as `isBusy`, so that it does not compete with the start that took one; but not for ever. */
  readonly delayMs: number;
  readonly isBusy: () => boolean;
  /** Names up to so many that nobody else will make, before any wait. */
  readonly claim: (count: number) => readonly Key[];
  /** Makes them; when it fails it gives them back. */
  readonly make: (keys: readonly Key[]) => Promise<void>;
  readonly logger: Pick<Logger, 'warn'>;
}

/** Who never comes to rest is served by a pool as well: a refill waits so many times at most. */
const MAX_WAITS = 10;

export class ReadyPool<Key> {
  readonly #parts: ReadyPoolParts<Key>;
  readonly #ready: Key[] = [];
  #timer: NodeJS.Timeout | undefined;
  #work: Promise<void> | undefined;
  /** Somebody took one while a refill was under way. */
  #takenMeanwhile = false;
  #closed = false;

  constructor(parts: ReadyPoolParts<Key>) {
    this.#parts = parts;
  }

  /** One that is ready; undefined when the caller must make its own. Either way the pool is filled up soon. */
  take(): Key | undefined {
    const key = this.#ready.shift();
    this.#refillSoon();
    return key;
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

  /** Ends when nothing is made any more. @returns those that nobody took */
  async close(): Promise<readonly Key[]> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#work;
    return this.#ready.splice(0);
  }

  /** Never rejects. */
  async #fill(): Promise<void> {
    try {
      const keys = this.#parts.claim(this.#parts.size - this.#ready.length);
      if (keys.length === 0) return;
      await this.#parts.make(keys);
      this.#ready.push(...keys);
    } catch (err) {
      // The next start makes its own and reports what is wrong.
      this.#parts.logger.warn({ err }, `${this.#parts.name}.refill-failed`);
    }
  }

  #refillSoon(): void {
    if (!this.#timer) this.#refillAfter(MAX_WAITS);
  }

  #refillAfter(waits: number): void {
    if (this.#closed) return;
    const { delayMs, isBusy } = this.#parts;
    this.#timer = setTimeout(() => {
      if (waits > 1 && isBusy()) this.#refillAfter(waits - 1);
      else this.refill();
    }, delayMs);
    this.#timer.unref();
  }
}
