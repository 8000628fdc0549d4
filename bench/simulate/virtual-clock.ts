/** A clock that stands still while something happens, and goes to the next moment for which somebody waits as soon as nothing more does. */
import type { Clock } from '../../server/src/platform/clock.ts';

interface Due {
  readonly atMs: number;
  readonly then: () => void;
}

export class VirtualClock implements Clock {
  #nowMs = 0;
  /** The latest first: the next one is taken from the end. Of the same moment the one that was asked for first is next. */
  readonly #due: Due[] = [];

  readonly now = (): number => this.#nowMs;

  readonly after = (ms: number, then: () => void): (() => void) => {
    const due = { atMs: this.#nowMs + ms, then };
    let [low, high] = [0, this.#due.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#due[middle]?.atMs ?? 0) > due.atMs) low = middle + 1;
      else high = middle;
    }
    this.#due.splice(low, 0, due);
    return () => {
      const index = this.#due.indexOf(due);
      if (index >= 0) this.#due.splice(index, 1);
    };
  };

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.after(ms, resolve));
  }

  /** Lets time pass until `isOver`. @throws Error when nobody waits for anything before that */
  async run(isOver: () => boolean): Promise<void> {
    for (;;) {
      await settled();
      if (isOver()) return;
      const next = this.#due.pop();
      if (!next) throw new Error('Nothing more will ever happen, and it is not over.');
      this.#nowMs = next.atMs;
      next.then();
    }
  }
}

/** All that waits for nothing but other promises has gone on then. */
const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
