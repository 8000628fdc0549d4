/**
 * Keeps the life of one sandbox: takes events one after the other, writes each edge down, has done what follows, and tells those who wait. What is
 * true here is true at once; the store may learn of it later (`platform/ledger.ts`), since no end may wait for a disk.
 */
import type { FaultPoint } from '../platform/fault-points.ts';
import {
  type Effect,
  instanceOf,
  type Life,
  type LifeEvent,
  type StoredLife,
  step,
  toStored,
} from './life.ts';
import type { Entry } from './life-log.ts';

export interface LifeKeeperParts {
  readonly now: () => number;
  /** Takes the row and the log's new entry, to be written together. Never throws. */
  readonly store: (row: StoredLife, entry: Entry) => void;
  /** Does what an edge asks for, and tells how it went by further events. Never throws, never waits. */
  readonly perform: (effect: Effect, life: Life) => void;
  readonly faultPoint: FaultPoint;
}

export class LifeKeeper {
  readonly #parts: LifeKeeperParts;
  #life: Life;
  readonly #events: LifeEvent[] = [];
  #busy = false;
  #detached = false;
  readonly #waiters = new Set<() => void>();

  constructor(life: Life, parts: LifeKeeperParts) {
    this.#life = life;
    this.#parts = parts;
  }

  get life(): Life {
    return this.#life;
  }

  /** Something happened. Returns once it, and what it brought about at once, is written and begun; from inside an effect, at once. */
  tell(event: LifeEvent): void {
    this.#events.push(event);
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let next = this.#events.shift(); next && !this.#detached; next = this.#events.shift()) {
        this.#take(next);
      }
    } finally {
      this.#busy = false;
    }
  }

  /** From now on nothing that happens changes anything: the next server takes over. */
  detach(): void {
    this.#detached = true;
  }

  get detached(): boolean {
    return this.#detached;
  }

  /** Resolves once `pick` gives something other than undefined, and rejects with what it throws, or with the signal's reason. */
  until<T>(pick: (life: Life) => T | undefined, signal?: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const stop = () => {
        this.#waiters.delete(look);
        signal?.removeEventListener('abort', onAbort);
      };
      const onAbort = () => {
        stop();
        reject(signal?.reason);
      };
      const look = () => {
        try {
          const found = pick(this.#life);
          if (found === undefined) return;
          stop();
          resolve(found);
        } catch (error) {
          stop();
          reject(error);
        }
      };
      this.#waiters.add(look);
      signal?.addEventListener('abort', onAbort, { once: true });
      look();
    });
  }

  #take(event: LifeEvent): void {
    const before = this.#life;
    const { life, effects } = step(before, event);
    this.#life = life;
    const kind = edge(before, life);
    const { now, store, perform, faultPoint } = this.#parts;
    if (kind) {
      faultPoint(`sandbox.${kind}.before-store`);
      const row = toStored(life);
      store(row, { kind, timeMs: now(), result: row.result });
      faultPoint(`sandbox.${kind}.after-store`);
    }
    for (const effect of effects) {
      perform(effect, life);
      faultPoint(`sandbox.${life.state}.after-${effect}`);
    }
    if (life !== before) for (const look of [...this.#waiters]) look();
  }
}

/** The log's word for what changed, when it is something that outlives the server. */
function edge(before: Life, after: Life): Entry['kind'] | undefined {
  if (before.state !== after.state) return after.state;
  if (instanceOf(after) !== undefined && instanceOf(after) !== instanceOf(before)) return 'placed';
  const wasReady = before.state === 'running' && before.readyAtMs !== undefined;
  return after.state === 'running' && after.readyAtMs !== undefined && !wasReady ? 'ready' : undefined;
}
