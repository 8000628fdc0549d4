/**
 * Calls that must have their effect once: the clients repeat a call with the same `x-idempotency-key` when its answer was lost. The answer is kept for
 * an hour, across restarts. Failures are not kept, so that a repeat may succeed.
 */
import { type DescMessage, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { SkerryError } from '../../../errors/skerry-error.ts';

const LIFETIME_MS = 3_600_000;
const MAX_KEY_LENGTH = 128;

/** Where answers are kept. `store/idempotency.ts` implements it. */
export interface KeptAnswers {
  /** The answer under that key, unless it was kept at `sinceMs` or before. */
  get(key: string, sinceMs: number): Uint8Array | undefined;
  put(key: string, method: string, answer: Uint8Array, nowMs: number): void;
  /** Forgets what was kept at `untilMs` or before. */
  expire(untilMs: number): void;
}

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
  readonly #answers: KeptAnswers;
  readonly #running = new Map<string, Promise<unknown>>();
  #expiredAtMs = 0;

  constructor(answers: KeptAnswers, now: () => number) {
    this.#answers = answers;
    this.#now = now;
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
    const stored = this.#answers.get(fullKey, now - LIFETIME_MS);
    if (stored) return fromBinary(output, stored);
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
    this.#answers.put(fullKey, request.method, toBinary(request.output, kept), now);
    if (now - this.#expiredAtMs > LIFETIME_MS / 12) {
      this.#expiredAtMs = now;
      this.#answers.expire(now - LIFETIME_MS);
    }
    return response;
  }
}
