/**
 * When instances may be made ahead. While nobody waits for a start at once, and beside starts one at a time, now and then: where somebody asks all the time the pool would
 * stay empty for ever, and each of them would wait for a start of their own, which takes as much of the machine.
 */

/** Starts that go on for less are left alone. */
const FIRST_PATIENCE_MS = 500;

export class RefillPace {
  #waitsSinceMs: number | undefined;
  #patienceMs = FIRST_PATIENCE_MS;

  /**
   * Whether one may be made now.
   * @param starts whether somebody waits for a start
   * @param making how many are being made
   */
  allows(nowMs: number, { starts, making }: { readonly starts: boolean; readonly making: number }): boolean {
    if (!starts) {
      this.#rest();
      return true;
    }
    this.#waitsSinceMs ??= nowMs;
    return making === 0 && nowMs - this.#waitsSinceMs >= this.#patienceMs;
  }

  /** One was made, or failed: the next beside starts comes when these had as long to themselves. @param starts as in `allows` */
  took(nowMs: number, ms: number, starts: boolean): void {
    if (!starts) {
      this.#rest();
      return;
    }
    this.#waitsSinceMs = nowMs;
    this.#patienceMs = ms;
  }

  #rest(): void {
    this.#waitsSinceMs = undefined;
    this.#patienceMs = FIRST_PATIENCE_MS;
  }
}
