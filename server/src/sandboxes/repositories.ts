/**
 * The rows that must survive the server: sandboxes, and the processes in them. `store/sandboxes.ts` and `store/processes.ts` implement these. Times are
 * milliseconds since the epoch.
 */
import type { AppId, InstanceId, MemberId, ProcessId, SandboxId, TaskId } from '../ids.ts';
import type { ExitSnapshot } from './exit-snapshot.ts';
import type { StoredLife } from './life.ts';
import type { Entry } from './life-log.ts';
import type { SandboxFilter, SandboxLogEntry } from './sandboxes.ts';
import type { Sleep } from './sleep.ts';
import type { SandboxSpec } from './spec.ts';
import type { ProcessExit, SandboxResult, SandboxState } from './state.ts';

export interface SandboxRow {
  readonly id: SandboxId;
  readonly taskId: TaskId;
  /** The token that it was made with; undefined in rows of versions that did not keep it. */
  readonly tokenId: string | undefined;
  /** Which of several servers keeps it; undefined: the one that leads. */
  readonly memberId: MemberId | undefined;
  readonly spec: SandboxSpec;
  readonly name: string | undefined;
  readonly tags: Readonly<Record<string, string>>;
  readonly state: SandboxState;
  /** What it runs in, if there is anything. */
  readonly instance: InstanceId | undefined;
  /** What it wakes from, if it is suspended, and what its files go on from since then. */
  readonly slept: Sleep | undefined;
  /** The environment of its processes, sealed; gone once it ended. */
  readonly sealedEnv: Uint8Array | undefined;
  /** Its buckets with their keys, sealed; where it has any, until it ended. */
  readonly sealedBuckets: Uint8Array | undefined;
  readonly result: SandboxResult | undefined;
  /** Where it was to have one and it was taken, or could not be. */
  readonly exitSnapshot: ExitSnapshot | undefined;
  readonly createdAtMs: number;
  readonly startedAtMs: number | undefined;
  readonly endedAtMs: number | undefined;
  readonly deadlineMs: number | undefined;
  readonly readyAtMs: number | undefined;
}

export interface NewSandboxRow {
  readonly id: SandboxId;
  readonly taskId: TaskId;
  readonly spec: SandboxSpec;
  readonly sealedEnv: Uint8Array;
  readonly sealedBuckets: Uint8Array | undefined;
  readonly createdAtMs: number;
  readonly tokenId: string | undefined;
  readonly memberId?: MemberId | undefined;
  readonly requestKey: string | undefined;
}

export interface SandboxRepository {
  /** @throws UniqueViolation when the name or external key is taken */
  insert(row: NewSandboxRow): void;
  get(id: SandboxId): SandboxRow | undefined;
  getByTask(id: TaskId): SandboxRow | undefined;
  live(): SandboxRow[];
  /** Ended sandboxes whose end lies before `beforeMs`, by the time of their end, 100 at a time: those that come behind `after` in that order. */
  endedBefore(beforeMs: number, after?: SandboxRow): SandboxRow[];
  /** Forgets an ended sandbox with all its processes and log lines. */
  delete(row: Pick<SandboxRow, 'id' | 'taskId'>): void;
  liveIdByExternalKey(key: string): SandboxId | undefined;
  /** What the request of that key made, running or ended. */
  getByRequestKey(key: string): SandboxRow | undefined;
  /** The sidecars of a sandbox, ended ones included, newest first, at most 1000. */
  sidecars(ownerId: SandboxId): SandboxRow[];
  /** The sidecar of a sandbox that has or had a process of that id. */
  sidecarWithProcess(ownerId: SandboxId, processId: ProcessId): SandboxRow | undefined;
  /** Creation time of the newest sandbox, so that new ones sort strictly after it. */
  newestCreatedAtMs(): number;
  find(appId: AppId, name: string, includeEnded: boolean): SandboxRow | undefined;
  /** Without sidecars, newest first. */
  list(filter: SandboxFilter): SandboxRow[];
  /** Where its life has come to, and the entries of its log that led there: both or neither. */
  update(row: Pick<SandboxRow, 'id' | 'taskId'>, life: StoredLife, entries: readonly Entry[]): void;
  /** What happened to a sandbox, oldest first. */
  life(taskId: TaskId): Entry[];
  /** @throws like insert() */
  setName(id: SandboxId, name: string): void;
  setTags(id: SandboxId, tags: Readonly<Record<string, string>>): void;
  setExitSnapshot(id: SandboxId, taken: ExitSnapshot): void;
  /** Those that have not ended of a server that is gone are the one's that leads. */
  takeBack(from: MemberId): void;
  /** The one that leads knows that one has ended which another kept. No effect before that one has stored it: then it is told once more. */
  noteHeard(id: SandboxId): void;
  /** Those that others kept, which have ended while the one that leads did not know it. */
  unheard(): SandboxRow[];
  addEvent(taskId: TaskId, entry: SandboxLogEntry): void;
  events(taskId: TaskId): SandboxLogEntry[];
}

/** Another row has what may be there once. */
export class UniqueViolation extends Error {}

export const isUniqueViolation = (error: unknown): error is UniqueViolation =>
  error instanceof UniqueViolation;

/** `starting`: handed to the agent, whose answer was not stored yet. */
export type ProcessState = 'starting' | 'running' | 'ended';

export interface ProcessRow {
  readonly id: ProcessId;
  readonly taskId: TaskId;
  readonly argv: readonly string[];
  readonly hasPty: boolean;
  readonly timeoutMs: number | undefined;
  readonly state: ProcessState;
  readonly exit: ProcessExit | undefined;
  readonly createdAtMs: number;
  /** Bytes of input it had taken when it ended; 0 before. */
  readonly stdinAccepted: number;
}

export interface ProcessRepository {
  insert(row: Pick<ProcessRow, 'id' | 'taskId' | 'argv' | 'hasPty' | 'timeoutMs' | 'createdAtMs'>): void;
  started(taskId: TaskId, id: ProcessId): void;
  ended(
    process: Pick<ProcessRow, 'taskId' | 'id'>,
    exit: ProcessExit,
    stdinAccepted: number,
    endedAtMs: number,
  ): void;
  /** For a start that failed: the caller may try the same id again. */
  delete(taskId: TaskId, id: ProcessId): void;
  get(taskId: TaskId, id: ProcessId): ProcessRow | undefined;
  /** Oldest first. */
  list(taskId: TaskId): ProcessRow[];
}
