/** Chores on a timer. What one throws is told to the log and ends nothing: an exception in a timer would otherwise end the process. */
import type { Logger } from '../telemetry/logger.ts';

export interface Chore {
  /** Names it in the log. */
  readonly name: string;
  /** May throw or reject. It is not begun anew while it still goes on. */
  readonly run: () => unknown;
}

/**
 * Runs each chore every `intervalMs`, one's failure being none of the others'. Returns how to stop; chores under way go on to their end. With
 * `keepsRunning` false the process may end without that.
 */
export function repeat(
  intervalMs: number,
  chores: readonly Chore[],
  logger: Pick<Logger, 'error'>,
  { keepsRunning = true }: { readonly keepsRunning?: boolean } = {},
): () => void {
  const underWay = new Set<Chore>();
  const once = async (chore: Chore): Promise<void> => {
    if (underWay.has(chore)) return;
    underWay.add(chore);
    try {
      await chore.run();
    } catch (err) {
      logger.error({ chore: chore.name, err }, 'chore.failed');
    } finally {
      underWay.delete(chore);
    }
  };
  const timer = setInterval(() => {
    for (const chore of chores) void once(chore);
  }, intervalMs);
  if (!keepsRunning) timer.unref();
  return () => clearInterval(timer);
}
