/** What a server does that leads others over one database: it says where it listens, and stops at once where it may not be the only one that leads any more. */
import { SkerryError } from './errors/skerry-error.ts';
import { repeat } from './platform/repeat.ts';
import { type Leader, leaderAsText } from './store/postgres/leadership.ts';
import type { SqlSettings } from './store/settings.ts';
import type { Logger } from './telemetry/logger.ts';

/** The lock of this server's connection is looked after so often. */
const BEAT_MS = 1_000;
/** What keeps sandboxes ends itself after so long without an answer. The database gives the lock to another one 25 s after it heard the last of this server (`locks.ts`). */
export const FENCE_MS = 15_000;

export interface LeadParts {
  readonly settings: Pick<SqlSettings, 'get' | 'set'>;
  /** The certificate may be renewed with another key. */
  readonly where: () => Leader;
  readonly logger: Logger;
  readonly now: () => number;
  readonly onLost: (why: string) => void;
}

/** @returns how to stop */
export function lead({ settings, where, logger, now, onLost }: LeadParts): () => void {
  settings.set('leader', leaderAsText(where()));
  let heardAtMs = now();
  const beat = () => {
    const askedAtMs = now();
    try {
      const said = leaderAsText(where());
      if (settings.get('leader') !== said) settings.set('leader', said);
      heardAtMs = askedAtMs;
    } catch (error) {
      if (!(error instanceof SkerryError)) throw error;
      if (error.code === 'conflict') return onLost('another server leads');
      if (now() - heardAtMs > FENCE_MS) onLost('the database does not answer');
    }
  };
  return repeat(BEAT_MS, [{ name: 'leadership', run: beat }], logger);
}
