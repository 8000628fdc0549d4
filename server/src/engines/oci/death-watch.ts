/** Tells an instance that died from one whose agent dials anew. */
import { delay } from '../../platform/wait.ts';
import type { Logger } from '../../telemetry/logger.ts';

/** How often an instance without any connection is looked at. */
const POLL_MS = 500;

export interface Watched {
  /** Whether somebody must know: it has not ended by other means, and has no connection. */
  readonly inDoubt: () => boolean;
  /** Whether its first process lives. May fail to find out: the runtime may be missing or too slow for once. */
  readonly isUp: () => Promise<boolean>;
}

/**
 * Looks until the instance is dead (true) or nobody is in doubt any more (false). Only a clear answer is one: what cannot be found out is looked at again,
 * and told to the log once in a row.
 */
export async function watchForDeath(
  { inDoubt, isUp }: Watched,
  logger: Pick<Logger, 'warn'>,
  pollMs = POLL_MS,
): Promise<boolean> {
  let told = false;
  while (inDoubt()) {
    try {
      const up = await isUp();
      told = false;
      if (!up) return inDoubt();
    } catch (err) {
      if (!told) logger.warn({ err }, 'instance.watch-failed');
      told = true;
    }
    await delay(pollMs);
  }
  return false;
}
