/**
 * When instances may be made ahead. While nobody waits for a start at once. Beside starts that all were given what waited, none: to make one takes some ten times what it takes to give one, and all of them
 * would wait for it. Beside others one at a time, now and then: where somebody asks all the time the pool would stay empty for ever, and each of them would wait for a start of their own, which takes as
 * much of the machine.
 */

/** Who waits for a start: nobody; only who was given an instance that waited; somebody for whom one is made. */
export type Starts = 'none' | 'given' | 'made';

/** Starts that go on for less are left alone. */
const FIRST_PATIENCE_MS = 500;

export class RefillPace {
  /** Since when somebody waits for one that is made, or for one beside those, without a rest. */
  #waitsSinceMs: number | undefined;
  #patienceMs = FIRST_PATIENCE_MS;

  /**
   * Whether one may be made now.
   * @param making how many are being made
   */
  allows(nowMs: number, { starts, making }: { readonly starts: Starts; readonly making: number }): boolean {
    if (starts === 'none') {
      this.#rest();
      return true;
    }
    if (starts === 'made') this.#waitsSinceMs ??= nowMs;
    if (this.#waitsSinceMs === undefined) return false;
    return making === 0 && nowMs - this.#waitsSinceMs >= this.#patienceMs;
  }

  /** One was made, or failed: the next beside starts comes when these had as long to themselves. @param starts as in `allows` */
  took(nowMs: number, ms: number, starts: Starts): void {
    if (starts === 'none') {
      this.#rest();
      return;
    }
    if (starts === 'given' && this.#waitsSinceMs === undefined) return;
    this.#waitsSinceMs = nowMs;
    this.#patienceMs = ms;
  }

  #rest(): void {
    this.#waitsSinceMs = undefined;
    this.#patienceMs = FIRST_PATIENCE_MS;
  }
}
