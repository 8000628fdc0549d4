/** What time it is, and waits by it: a part that has decisions hang on both takes one, so that a day of them can pass in a moment. */

export interface Clock {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Calls `then` in so many milliseconds. Returns how to call it off. It keeps no process from ending. */
  readonly after: (ms: number, then: () => void) => () => void;
}

export const systemClock: Clock = {
  now: Date.now,
  after: (ms, then) => {
    const timer = setTimeout(then, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
