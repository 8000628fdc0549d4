/** How many instances of one kind will be asked for soon, told from when such were asked for. */

/** Demand is counted in stretches of this length: for as long as a busy machine may take to fill a pool up again. */
const STRETCH_MS = 10_000;
/** What is looked back on. */
export const WINDOW_MS = 5 * 60_000;
const STRETCHES = WINDOW_MS / STRETCH_MS;
/** Of how many standard deviations more than the mean there is to be enough. */
const DEVIATIONS = 2;

export class Demand {
  /** How many were asked for, by the number of the stretch. Only those of the window. */
  readonly #counts = new Map<number, number>();
  #firstStretch: number | undefined;
  #lastMs = Number.NEGATIVE_INFINITY;

  /** One is asked for. */
  note(nowMs: number): void {
    const stretch = stretchOf(nowMs);
    this.#firstStretch ??= stretch;
    this.#lastMs = nowMs;
    this.#counts.set(stretch, (this.#counts.get(stretch) ?? 0) + 1);
  }

  /** Whether none was asked for within the window. */
  isOver(nowMs: number): boolean {
    return nowMs - this.#lastMs >= WINDOW_MS;
  }

  /**
   * How many should wait: what is asked for in a stretch on average, and as many more as that varies; never more than were asked for in any one. One at least, until
   * none was asked for within the window.
   */
  expected(nowMs: number): number {
    if (this.isOver(nowMs)) return 0;
    const now = stretchOf(nowMs);
    for (const stretch of this.#counts.keys()) if (stretch <= now - STRETCHES) this.#counts.delete(stretch);
    const counts = [...this.#counts.values()];
    const stretches = Math.min(STRETCHES, now - (this.#firstStretch ?? now) + 1);
    const mean = sum(counts) / stretches;
    const variance = sum(counts.map((count) => count ** 2)) / stretches - mean ** 2;
    const enough = Math.ceil(mean + DEVIATIONS * Math.sqrt(Math.max(0, variance)));
    return Math.max(1, Math.min(enough, Math.max(...counts)));
  }
}

const stretchOf = (ms: number): number => Math.floor(ms / STRETCH_MS);
const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
