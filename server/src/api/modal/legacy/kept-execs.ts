/** What must be known of an older client's exec after a restart of the server too, besides what is known of every process. */
import type { ProcessId, TaskId } from '../../../ids.ts';

/** An exec: a process of a task. */
export interface ExecKey {
  readonly taskId: TaskId;
  readonly processId: ProcessId;
}

export interface BegunInput {
  /** What tells the last message that was begun from others: its number, or its idempotency key. */
  readonly message: string;
  /** Offset of its first byte in the input. */
  readonly offset: number;
}

/** `store/legacy-execs.ts` implements it. It forgets what belongs to a sandbox together with that. */
export interface KeptExecs {
  begunInput(exec: ExecKey): BegunInput | undefined;
  beginInput(exec: ExecKey, input: BegunInput): void;
  /** The exec's sandbox is to end with it. */
  endWith(exec: ExecKey): void;
  /** Execs with which sandboxes end that have not ended. */
  ending(): readonly ExecKey[];
}
