/** Keeps count of RPCs that clients asked for and Skerry does not have: what to build next, and what a user ran into. */
import type { Logger } from '../../../telemetry/logger.ts';

/** Names come from clients; an endless supply of them must not fill the memory or the log. */
const MAX_NAMES = 500;

export class UnknownRpcs {
  readonly #logger: Logger;
  readonly #counts = new Map<string, number>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  /** Counts one call; the first of each name is logged. */
  count(rpc: string): void {
    const seen = this.#counts.get(rpc);
    if (seen === undefined) {
      if (this.#counts.size >= MAX_NAMES) return;
      this.#logger.warn({ rpc }, 'rpc not implemented');
    }
    this.#counts.set(rpc, (seen ?? 0) + 1);
  }
}
