/**
 * Calls that must have their effect once: the clients repeat a call with the same `x-idempotency-key` when its answer was lost. The answer is kept for
 * an hour, across restarts. Failures are not kept, so that a repeat may succeed.
 */
import { type DescMessage, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { Database } from '../../../store/database.ts';

const LIFETIME_MS = 3_600_000;
const MAX_KEY_LENGTH = 128;

export interface OnceRequest<Output extends DescMessage> {
  /** Who asks: one caller's key means nothing to another. */
  readonly principal: string;
  readonly method: string;
  /** Absent or empty: the call simply runs. */
  readonly key: string | undefined;
  readonly output: Output;
  readonly run: () => Promise<MessageShape<Output>>;
  /** What of the answer is kept, for answers with short-lived credentials. */
  readonly keep?: (response: MessageShape<Output>) => MessageShape<Output>;
}

export class Idempotency {
  readonly #now: () => number;
  readonly #select;
  readonly #insert;
  readonly #expire;
  readonly #running = new Map<string, Promise<unknown>>();
  #expiredAtMs = 0;

  constructor(database: Database, now: () => number) {
    this.#now = now;
    this.#select = database.prepare('SELECT response FROM idempotency WHERE key = ? AND created_at_ms > ?');
    this.#insert = database.prepare(
      'INSERT OR REPLACE INTO idempotency (key, method, response, created_at_ms) VALUES (?, ?, ?, ?)',
    );
    this.#expire = database.prepare('DELETE FROM idempotency WHERE created_at_ms <= ?');
  }

  /**
   * Runs the call, joins the one under way, or answers with what it answered before.
   * @throws SkerryError `invalid-argument` for a key that is too long; what `run` throws
   */
  async once<Output extends DescMessage>(request: OnceRequest<Output>): Promise<MessageShape<Output>> {
    const { principal, method, key, output, run } = request;
    if (!key) return run();
    if (key.length > MAX_KEY_LENGTH) {
      throw new SkerryError(
        'invalid-argument',
        `x-idempotency-key is longer than ${MAX_KEY_LENGTH} characters.`,
      );
    }
    const fullKey = `${principal}/${method}/${key}`;
    const now = this.#now();
    const stored = this.#select.get(fullKey, now - LIFETIME_MS)?.response;
    if (stored instanceof Uint8Array) return fromBinary(output, stored);
    // The key names the method, so what runs under it answers with `output`.
    const underWay = this.#running.get(fullKey) as Promise<MessageShape<Output>> | undefined;
    if (underWay) return underWay;
    const running = this.#runAndKeep(fullKey, request);
    this.#running.set(fullKey, running);
    try {
      return await running;
    } finally {
      this.#running.delete(fullKey);
    }
  }

  async #runAndKeep<Output extends DescMessage>(
    fullKey: string,
    request: OnceRequest<Output>,
  ): Promise<MessageShape<Output>> {
    const response = await request.run();
    const kept = request.keep ? request.keep(response) : response;
    const now = this.#now();
    this.#insert.run(fullKey, request.method, toBinary(request.output, kept), now);
    if (now - this.#expiredAtMs > LIFETIME_MS / 12) {
      this.#expiredAtMs = now;
      this.#expire.run(now - LIFETIME_MS);
    }
    return response;
  }
}
