/** Where the time of something went: how long each of its parts took. Parts may go on side by side, so they can come to more than the whole. */
import type { Part } from '../telemetry/tracing.ts';

export class Phases {
  readonly #parts: Part[] = [];
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
    this.#parts.push({ name, startedAtMs: performance.timeOrigin + performance.now() - ms, ms });
  }

  /** Each time that a part was gone through, in the order in which they ended. */
  get parts(): readonly Part[] {
    return this.#parts;
  }

  /** Milliseconds, in the order in which the parts ended first. */
  get spent(): Readonly<Record<string, number>> {
    const spent: Record<string, number> = {};
    for (const { name, ms } of this.#parts) spent[name] = (spent[name] ?? 0) + ms;
    return spent;
  }
}
