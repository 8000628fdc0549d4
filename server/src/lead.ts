/**
 * What a server does that leads others over one database: it says where it listens, and stops at once where it may not be the only one that leads any more. Those that keep sandboxes
 * under it stop likewise.
 */
import { SkerryError } from './errors/skerry-error.ts';
import { repeat } from './platform/repeat.ts';
import { type Leader, leaderAsText } from './store/postgres/leader.ts';
import type { SqlSettings } from './store/settings.ts';
import type { Logger } from './telemetry/logger.ts';

/** The lock of this server's connection is looked after so often. */
const BEAT_MS = 1_000;
/** What keeps sandboxes ends itself after so long without an answer. The database gives the lock to another one 25 s after it heard the last of this server (`locks.ts`). */
const FENCE_MS = 15_000;

export interface LeadParts {
  readonly settings: Pick<SqlSettings, 'get' | 'set'>;
  /** The certificate may be renewed with another key. */
  readonly where: () => Leader;
  readonly logger: Logger;
  readonly now: () => number;
  readonly onLost: (why: string) => void;
}

/** @returns how to stop */
export function lead({ settings, where, ...rest }: LeadParts): () => void {
  settings.set('leader', leaderAsText(where()));
  return keepAsking({
    ...rest,
    name: 'leadership',
    taken: 'another server leads',
    isStill() {
      const said = leaderAsText(where());
      if (settings.get('leader') !== said) settings.set('leader', said);
      return true;
    },
  });
}

export interface AskingParts extends Pick<LeadParts, 'logger' | 'now' | 'onLost'> {
  readonly name: string;
  /** Asks the database whether this server is still what it was. @throws SkerryError where it does not answer, or another has the lock */
  readonly isStill: () => boolean;
  /** Why it is lost that is not, or whose lock another has. */
  readonly taken: string;
}

/** Asks the database all the time, and says at once where another has this server's place, or may have it soon. @returns how to stop */
export function keepAsking({ name, isStill, taken, logger, now, onLost }: AskingParts): () => void {
  let heardAtMs = now();
  const beat = () => {
    const askedAtMs = now();
    try {
      if (!isStill()) return onLost(taken);
      heardAtMs = askedAtMs;
    } catch (error) {
      if (!(error instanceof SkerryError)) throw error;
      if (error.code === 'conflict') return onLost(taken);
      if (now() - heardAtMs > FENCE_MS) onLost('the database does not answer');
    }
  };
  return repeat(BEAT_MS, [{ name, run: beat }], logger);
}
