/**
 * When instances may be made ahead. While nobody waits for a start at once, but when many were given one not before these had time for their first programs. Beside starts that all were given what waited, none: to make one takes some ten times what it takes to give one, and all of them
 * would wait for it. Beside others one at a time, now and then: where somebody asks all the time the pool would stay empty for ever, and each of them would wait for a start of their own, which takes as
 * much of the machine.
 */

/** Who waits for a start: nobody; only who was given an instance that waited; somebody for whom one is made. */
export type Starts = 'none' | 'given' | 'made';

/** Starts that go on for less are left alone. */
const FIRST_PATIENCE_MS = 500;
/** So many that were given one together have run their first programs before the next look. */
const FEW = 4;
/** What each more takes of a small machine for that, generously: under gVisor it is some 50 ms of a processor. */
const FIRST_PROGRAM_MS = 40;
const LONGEST_REST_MS = 4_000;

export class RefillPace {
  /** Since when somebody waits for one that is made, or for one beside those, without a rest. */
  #waitsSinceMs: number | undefined;
  #patienceMs = FIRST_PATIENCE_MS;
  /** How many were given one since there was time for others, and when the last was. */
  #given = 0;
  #givenAtMs = 0;

  /** Somebody is given one: what they do first with it takes as much of the machine as the start, and they wait for that as well. */
  gave(nowMs: number): void {
    this.#given++;
    this.#givenAtMs = nowMs;
  }

  /**
   * Whether one may be made now.
   * @param making how many are being made
   */
  allows(nowMs: number, { starts, making }: { readonly starts: Starts; readonly making: number }): boolean {
    if (starts === 'none') {
      this.#rest();
      const restMs = Math.min(Math.max(0, this.#given - FEW) * FIRST_PROGRAM_MS, LONGEST_REST_MS);
      if (nowMs < this.#givenAtMs + restMs) return false;
      this.#given = 0;
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
