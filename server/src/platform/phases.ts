/** Where the time of something went: how long each of its parts took. Parts may go on side by side, so they can come to more than the whole. */
export class Phases {
  readonly #spent = new Map<string, number>();
  #lastLap = performance.now();

  /** Does `work`, which is the part of that name, or more of it. */
  async time<T>(name: string, work: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    try {
      return await work();
    } finally {
      this.add(name, performance.now() - startedAt);
    }
  }

  /** The part of that name ends, which began with the end of the last lap, or with all of it. */
  lap(name: string): void {
    const now = performance.now();
    this.add(name, now - this.#lastLap);
    this.#lastLap = now;
  }

  add(name: string, ms: number): void {
    this.#spent.set(name, (this.#spent.get(name) ?? 0) + ms);
  }

  /** Milliseconds, in the order in which the parts ended first. */
  get spent(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#spent);
  }
}
