/** Tries again what could not be taken off the machine at once (something held it, a tool failed), so that it does not stay until the next start. */
import { delay } from '../platform/wait.ts';
import type { Logger } from '../telemetry/logger.ts';

const FIRST_PAUSE_MS = 1_000;
/** Between two tries. */
export const LONGEST_PAUSE_MS = 60_000;

export class Reaper {
  readonly #logger: Logger;
  readonly #firstPauseMs: number;
  readonly #closing = new AbortController();
  /** What is being tried, by its name. */
  readonly #work = new Map<string, Promise<void>>();

  /** @param firstPauseMs before the first new try; each further pause is twice as long, up to a minute */
  constructor(logger: Logger, firstPauseMs = FIRST_PAUSE_MS) {
    this.#logger = logger;
    this.#firstPauseMs = firstPauseMs;
  }

  /** Calls `remove` until it succeeds or the reaper is closed. What is tried already under this name goes on as it is. */
  retry(name: string, remove: () => Promise<void>): void {
    if (this.#closing.signal.aborted || this.#work.has(name)) return;
    this.#work.set(
      name,
      this.#try(name, remove).finally(() => this.#work.delete(name)),
    );
  }

  /** Ends when the tries under way have; what is left is for the next start. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#work.values());
  }

  async #try(name: string, remove: () => Promise<void>): Promise<void> {
    const { signal } = this.#closing;
    for (let pauseMs = this.#firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
      await delay(pauseMs, signal).catch(() => {}); // closing is looked at next
      if (signal.aborted) return;
      try {
        await remove();
        this.#logger.info({ what: name }, 'reaper.removed');
        return;
      } catch (error) {
        this.#logger.warn({ what: name, err: error }, 'reaper.still-left');
      }
    }
  }
}
