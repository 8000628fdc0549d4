/**
 * What happened must be true in the store as well, but what happens must not wait for it: a full disk or a locked database would keep from ending what
 * has to end. So ends are told to the ledger, which writes at once where it can, and else again and again until the store took it.
 */
import type { Logger } from '../telemetry/logger.ts';

const RETRY_MS = 500;
/** Of each writer without a key of its own; more are dropped while the store takes nothing. */
const MAX_KEYLESS = 1000;

interface Entry {
  readonly write: () => void;
  readonly onWritten: () => void;
}

export class Ledger {
  readonly #logger: Pick<Logger, 'error' | 'info'>;
  readonly #retryMs: number;
  /** What the store has not taken yet, oldest first. */
  readonly #behind = new Map<string | symbol, Entry>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(logger: Pick<Logger, 'error' | 'info'>, retryMs = RETRY_MS) {
    this.#logger = logger;
    this.#retryMs = retryMs;
  }

  /** How many writes the store has not taken yet. */
  get behind(): number {
    return this.#behind.size;
  }

  /**
   * Writes, now or as soon as the store takes it. Never throws. Writes keep their order.
   * @param key a later write with the same key takes the place of one that was not taken yet; undefined for one that stands for itself
   * @param onWritten called once the store has it
   */
  tell(key: string | undefined, write: () => void, onWritten: () => void = () => {}): void {
    const written = this.#behind.size === 0 && this.#try(write);
    if (written) this.#written(onWritten);
    else this.#keep(key, { write, onWritten });
  }

  /** Tries what is left once more, and never again: the next server finds out by itself. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#drain();
  }

  #try(write: () => void): boolean {
    try {
      write();
      return true;
    } catch (error) {
      this.#logger.error({ err: error }, 'store.refused');
      return false;
    }
  }

  #keep(key: string | undefined, entry: Entry): void {
    if (key === undefined && this.#behind.size >= MAX_KEYLESS) return;
    this.#behind.set(key ?? Symbol('entry'), entry);
    this.#arm();
  }

  /** The write is done: what its listener throws changes nothing about that, and must not end the timer's turn. */
  #written(onWritten: () => void): void {
    try {
      onWritten();
    } catch (error) {
      this.#logger.error({ err: error }, 'store.listener-failed');
    }
  }

  #arm(): void {
    if (this.#closed) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#drain();
      if (this.#behind.size > 0) this.#arm();
    }, this.#retryMs);
  }

  #drain(): void {
    const before = this.#behind.size;
    for (const [key, { write, onWritten }] of this.#behind) {
      try {
        write();
      } catch {
        return; // said when it was refused first
      }
      this.#behind.delete(key);
      this.#written(onWritten);
    }
    if (before > 0) this.#logger.info({ writes: before }, 'store.caught-up');
  }
}
