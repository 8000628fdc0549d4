/** How often each token may make sandboxes: as many at once as in a minute, and from then on as the minute passes. */
import { SkerryError } from '../errors/skerry-error.ts';

const MINUTE_MS = 60_000;

export class CreateRate {
  readonly #now: () => number;
  /** When each token has all of its minute again; those that have are not in it. */
  readonly #fullAtMs = new Map<string, number>();

  /** @param now milliseconds since the epoch */
  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * Takes so many creates.
   * @param perMinute 0: as often as it likes
   * @throws SkerryError `rate-limited`, which says how long to wait; `invalid-argument` for more than a minute ever has
   */
  take(tokenId: string, perMinute: number, count = 1): void {
    if (perMinute === 0) return;
    const bound = `This token may make ${perMinute} sandboxes a minute`;
    if (count > perMinute) throw new SkerryError('invalid-argument', `${bound}: not ${count} at once.`);
    const nowMs = this.#now();
    for (const [id, atMs] of this.#fullAtMs) if (atMs <= nowMs) this.#fullAtMs.delete(id);
    const fullAtMs = Math.max(this.#fullAtMs.get(tokenId) ?? 0, nowMs) + (count * MINUTE_MS) / perMinute;
    const waitMs = fullAtMs - nowMs - MINUTE_MS;
    if (waitMs > 0) {
      throw new SkerryError('rate-limited', `${bound}. Try again in ${Math.ceil(waitMs / 1000)} s.`, {
        details: { retryAfterMs: waitMs },
      });
    }
    this.#fullAtMs.set(tokenId, fullAtMs);
  }
}
