/** How often each token, or each environment, may have sandboxes made: as many at once as in a minute, and from then on as the minute passes. */
import { SkerryError } from '../errors/skerry-error.ts';

const MINUTE_MS = 60_000;

export class CreateRate {
  readonly #now: () => number;
  readonly #whose: string;
  /** When each has all of its minute again; those that have are not in it. */
  readonly #fullAtMs = new Map<string, number>();

  /** @param now milliseconds since the epoch @param whose follows 'sandboxes of', in what is said to who must wait */
  constructor(now: () => number, whose: 'this token' | 'this environment') {
    this.#now = now;
    this.#whose = whose;
  }

  /**
   * Takes so many creates.
   * @param perMinute 0: as often as it likes
   * @throws SkerryError `rate-limited`, which says how long to wait; `invalid-argument` for more than a minute ever has
   */
  take(id: string, perMinute: number, count = 1): void {
    if (perMinute === 0) return;
    const bound = `${perMinute} sandboxes of ${this.#whose} may be made in a minute`;
    if (count > perMinute) throw new SkerryError('invalid-argument', `${bound}: not ${count} at once.`);
    const nowMs = this.#now();
    for (const [other, atMs] of this.#fullAtMs) if (atMs <= nowMs) this.#fullAtMs.delete(other);
    const fullAtMs = Math.max(this.#fullAtMs.get(id) ?? 0, nowMs) + (count * MINUTE_MS) / perMinute;
    const waitMs = fullAtMs - nowMs - MINUTE_MS;
    if (waitMs > 0) {
      throw new SkerryError('rate-limited', `${bound}. Try again in ${Math.ceil(waitMs / 1000)} s.`, {
        details: { retryAfterMs: waitMs },
      });
    }
    this.#fullAtMs.set(id, fullAtMs);
  }
}
