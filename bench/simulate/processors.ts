/** The processors of a simulated machine: what is done at once shares them evenly, and nothing has more than one. */
import type { Clock } from '../../server/src/platform/clock.ts';

interface Work {
  leftMs: number;
  readonly done: () => void;
}

/** Below this, in milliseconds, nothing is left but what rounding made. */
const NOTHING_MS = 1e-6;

export class Processors {
  readonly #count: number;
  readonly #clock: Clock;
  readonly #works = new Set<Work>();
  #lookedAtMs: number;
  #busyMs = 0;
  #callOff: (() => void) | undefined;

  constructor(count: number, clock: Clock) {
    this.#count = count;
    this.#clock = clock;
    this.#lookedAtMs = clock.now();
  }

  /** How long processors had something to do, all of them together. */
  get busyMs(): number {
    this.#look();
    return this.#busyMs;
  }

  /** Resolves once that is done; @param ms on a processor of its own */
  do(ms: number): Promise<void> {
    this.#look();
    return new Promise((done) => {
      this.#works.add({ leftMs: ms, done });
      this.#plan();
    });
  }

  /** Takes into account what was done since this was last called. */
  #look(): void {
    const passedMs = this.#clock.now() - this.#lookedAtMs;
    this.#lookedAtMs += passedMs;
    this.#busyMs += passedMs * Math.min(this.#count, this.#works.size);
    for (const work of this.#works) work.leftMs -= passedMs * this.#share;
  }

  /** What each has of a processor. */
  get #share(): number {
    return Math.min(1, this.#count / this.#works.size);
  }

  #plan(): void {
    this.#callOff?.();
    if (this.#works.size === 0) return;
    const leastMs = Math.max(0, Math.min(...[...this.#works].map(({ leftMs }) => leftMs)));
    this.#callOff = this.#clock.after(leastMs / this.#share, () => {
      this.#look();
      for (const work of [...this.#works]) {
        if (work.leftMs > NOTHING_MS) continue;
        this.#works.delete(work);
        work.done();
      }
      this.#plan();
    });
  }
}
