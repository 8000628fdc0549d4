/** How often each token may make sandboxes: as many at once as in a minute, and from then on as the minute passes. */
import { SkerryError } from '../errors/skerry-error.ts';

const MINUTE_MS = 60_000;

export interface CreateRateOptions {
  /** 0: as often as they like. */
  readonly perMinute: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export class CreateRate {
  readonly #options: CreateRateOptions;
  /** When each token has all of its minute again; those that have are not in it. */
  readonly #fullAtMs = new Map<string, number>();

  constructor(options: CreateRateOptions) {
    this.#options = options;
  }

  /** Takes so many creates. @throws SkerryError `rate-limited`, which says how long to wait; `invalid-argument` for more than a minute ever has */
  take(tokenId: string, count = 1): void {
    const { perMinute, now } = this.#options;
    if (perMinute === 0) return;
    const bound = `This token may make ${perMinute} sandboxes a minute`;
    if (count > perMinute) throw new SkerryError('invalid-argument', `${bound}: not ${count} at once.`);
    const nowMs = now();
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
