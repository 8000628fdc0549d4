/** What may happen to an instance until somebody has it, and in which order: the same in every engine, whatever an instance is made of there. */
import { SkerryError } from '../errors/skerry-error.ts';
import type { InstanceId } from '../ids.ts';
import { Cleanup } from '../platform/cleanup.ts';
import { Limiter } from '../platform/limiter.ts';

/** What everything fails with that is asked of an instance that is gone. */
export const ended = (id: InstanceId): SkerryError =>
  new SkerryError('sandbox-ended', `The sandbox of ${id} has already completed.`);

export class Preparation {
  /** How to take back what was made so far: everything that is acquired goes here at once. */
  readonly undo = new Cleanup();
  readonly #id: InstanceId;
  readonly #onOver: () => void;
  /** Preparing, binding, destroying: one after the other. */
  readonly #exclusive = new Limiter(1);
  /** Aborted once nothing can come of it any more. */
  readonly #leaving = new AbortController();
  #claimed = false;

  /** @param onOver called when it is somebody's, and when nothing of it is left */
  constructor(id: InstanceId, onOver: () => void) {
    this.#id = id;
    this.#onOver = onOver;
  }

  /** It is to become somebody's, once. @throws SkerryError `sandbox-ended`, `conflict` */
  claim(): void {
    if (this.#leaving.signal.aborted) throw ended(this.#id);
    if (this.#claimed) throw new SkerryError('conflict', `The instance ${this.#id} is somebody's already.`);
    this.#claimed = true;
  }

  /** It is somebody's: what was made stays. */
  handOver(): void {
    this.undo.release();
    this.#onOver();
  }

  /**
   * Does `work`, or leaves nothing of the instance, as far as that can be.
   * @param onLeft is told what kept something of it: then `leave` is to be called
   */
  attempt<T>(
    signal: AbortSignal,
    work: (either: AbortSignal) => Promise<T>,
    onLeft: (error: unknown) => void,
  ): Promise<T> {
    const either = AbortSignal.any([signal, this.#leaving.signal]);
    return this.#exclusive.run(async () => {
      try {
        either.throwIfAborted();
        return await work(either);
      } catch (error) {
        this.#leaving.abort(ended(this.#id));
        await this.takeBack().catch(onLeft);
        throw error;
      }
    });
  }

  /** Breaks off what is under way, and does `work` then, which is to end in `takeBack`. */
  leave(work: () => Promise<void>): Promise<void> {
    this.#leaving.abort(ended(this.#id));
    return this.#exclusive.run(work);
  }

  /** @throws what keeps something of it: it is to be called again */
  async takeBack(): Promise<void> {
    await this.undo.run();
    this.#onOver();
  }
}

/** Destroys those that share the network of an instance. What cannot be ended now goes down with it, and is cleaned up by its own next destroy. */
export async function destroyJoined(
  all: Iterable<{ readonly joins: InstanceId | undefined; destroy(): Promise<void> }>,
  id: InstanceId,
): Promise<void> {
  const joined = [...all].filter(({ joins }) => joins === id);
  await Promise.allSettled(joined.map((instance) => instance.destroy()));
}
