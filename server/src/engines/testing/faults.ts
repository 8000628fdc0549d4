/** Failures of an engine made on purpose, for the fake one: what a test says happens at a named point happens there. */
import type { InstanceId } from '../../ids.ts';
import { unlessAborted } from '../../platform/wait.ts';

/**
 * `bound`: the instance is up, but whoever bound it does not know that yet. `undo`: one that could not be made, or that an earlier engine left, is to go. The others are before anything of the
 * call happened.
 */
export type FaultPoint =
  | 'prepare'
  | 'bind'
  | 'bound'
  | 'undo'
  | 'adopt'
  | 'dial'
  | 'wake'
  | 'commit'
  | 'checkpoint'
  | 'mark'
  | 'stop'
  | 'destroy';

type Action = (instance: InstanceId | undefined) => void | Promise<void>;

/** A call that waits at its fault point. */
export interface Held {
  /** Resolves when the first call has come there. */
  readonly reached: Promise<void>;
  /** Lets those that wait go on, and all later ones. */
  release(): void;
}

export class Faults {
  readonly #actions = new Map<FaultPoint, Action>();
  /** What agents say of themselves instead of what is true, from now on: the JSON of HELLO. */
  greeting: string | undefined;

  /** Whether whoever is bound from now on is told to have to wait. */
  isCrowded = false;

  /** Every call that passes the point from now on runs `action`, and fails when it throws. */
  at(point: FaultPoint, action: Action): void {
    this.#actions.set(point, action);
  }

  clear(point: FaultPoint): void {
    this.#actions.delete(point);
  }

  /** The next `times` calls fail. Returns how many still will. */
  failTimes(point: FaultPoint, times: number, error = new Error(`injected at ${point}`)): () => number {
    let left = times;
    this.at(point, () => {
      if (left === 0) return;
      left--;
      throw error;
    });
    return () => left;
  }

  /** Calls wait at the point until they are released, or their own signal is aborted. */
  hold(point: FaultPoint): Held {
    const reached = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    this.at(point, () => {
      reached.resolve();
      return released.promise;
    });
    return {
      reached: reached.promise,
      release: () => {
        this.clear(point);
        released.resolve();
      },
    };
  }

  async pass(point: FaultPoint, instance: InstanceId | undefined, signal?: AbortSignal): Promise<void> {
    const action = this.#actions.get(point);
    if (!action) return;
    const done = Promise.resolve(action(instance));
    await (signal ? unlessAborted(done, signal) : done);
  }
}
