/** What happened to sandboxes, in order. Logs, metrics and whoever else must know follow it; the store has it in `life_events`. */
import type { InstanceId, SandboxId, TaskId } from '../ids.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { SandboxResult, SandboxState } from './state.ts';

/** One thing that happened, without to whom. */
export interface Entry {
  readonly timeMs: number;
  /** The state it has now, that there is an instance for it, or that its readiness probe succeeded. */
  readonly kind: SandboxState | 'placed' | 'ready';
  /** From `stopping` on. */
  readonly result: SandboxResult | undefined;
}

export interface LifeEntry extends Entry {
  readonly sandboxId: SandboxId;
  readonly taskId: TaskId;
  /** What it runs in. */
  readonly instance: InstanceId | undefined;
  /** The sandbox it is a sidecar of. */
  readonly sidecarOf: SandboxId | undefined;
}

export class LifeLog {
  readonly #logger: Pick<Logger, 'error'>;
  readonly #followers = new Set<(entry: LifeEntry) => void>();

  constructor(logger: Pick<Logger, 'error'>) {
    this.#logger = logger;
  }

  /** Calls `follower` with every entry from now on, until the returned function is called. One that throws is told of and disturbs nobody. */
  follow(follower: (entry: LifeEntry) => void): () => void {
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  append(entry: LifeEntry): void {
    for (const follower of this.#followers) {
      try {
        follower(entry);
      } catch (error) {
        this.#logger.error({ err: error, entry }, 'life-log.follower-failed');
      }
    }
  }
}
