/**
 * The domain's heart as the API sees it: sandboxes, their processes and their output. `sandbox-service.ts` implements it; `api/` calls nothing
 * else of this folder but the types of `spec.ts` and `state.ts`.
 */

import type { Duplex } from 'node:stream';
import type { Isolation, NetworkPolicy, Traffic } from '../engines/engine.ts';
import type {
  AppId,
  EnvironmentId,
  ImageId,
  MemorySnapshotId,
  ProcessId,
  SandboxId,
  SandboxIdShape,
  TaskId,
} from '../ids.ts';
import type { Image, SnapshotOptions } from '../images/image.ts';
import type { ExitSnapshot } from './exit-snapshot.ts';
import type { MemorySnapshot } from './memory-snapshots.ts';
import type { OutputTime } from './output-times.ts';
import type { PortTraffic } from './port-connections.ts';
import type { ExecSpec, PtySize, SandboxSpec, SecretHeaderSpec, SidecarSpec } from './spec.ts';
import type { Startup } from './startups.ts';
import type { ProcessExit, SandboxResult, SandboxState } from './state.ts';

/** A stream's bytes, kept from the first on, for any number of readers, also after the process and the sandbox ended. */
export interface OutputReader {
  /** Bytes produced so far. */
  readonly length: number;
  /** True once no more bytes will come. */
  readonly ended: boolean;
  /**
   * Bytes from `offset` in chunks of 1 byte to 256 KiB, following live output; ends at end of file. An offset beyond the end waits for it.
   * @throws the signal's reason when aborted
   */
  read(offset: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** When its bytes came, as far as that was noted: of entrypoints. In order. */
  times(): readonly OutputTime[];
}

export interface Process {
  readonly id: ProcessId;
  readonly taskId: TaskId;
  readonly argv: readonly string[];
  readonly createdAtMs: number;
  /** `ExecSpec.timeoutMs`. */
  readonly timeoutMs?: number | undefined;
  readonly stdout: OutputReader;
  readonly stderr: OutputReader;
  /** Undefined while it runs. */
  readonly exit: ProcessExit | undefined;
  /** Waits for the exit; a sandbox that ends first gives signal 9. @throws the signal's reason when aborted */
  wait(signal: AbortSignal): Promise<ProcessExit>;
  /**
   * Writes bytes that start at `offset` of the input; bytes already accepted are skipped (a retry), a gap is `invalid-argument`. Resolves when the
   * program's pipe has taken them. @throws SkerryError `stdin-closed`
   */
  writeStdin(offset: number, data: Uint8Array, signal: AbortSignal): Promise<void>;
  /**
   * Closes the input after what was accepted, and after what a writer left behind that was let go. Idempotent. Who gives up waiting has asked for it all
   * the same. @throws the signal's reason
   */
  closeStdin(signal: AbortSignal): Promise<void>;
  /** How much of the input the process has taken; after a restart of the server it waits for the agent to tell. */
  stdinStatus(signal: AbortSignal): Promise<{ readonly accepted: number; readonly closed: boolean }>;
  /**
   * Sends a signal to the process (`process`) or to its whole group and descendants (`group`). It arrives, once, though the connection to the agent breaks.
   * No effect once it ended.
   */
  kill(signal: number, scope: 'process' | 'group'): Promise<void>;
  /** @throws SkerryError `conflict` when it has no terminal */
  resize(size: PtySize): Promise<void>;
}

/** What is mounted into a sandbox. */
export interface MountedImage {
  /** Undefined: an empty directory. */
  readonly imageId: ImageId | undefined;
  /** What its snapshot was encrypted with. */
  readonly encryptionKey: Uint8Array | undefined;
}

export interface SandboxLogEntry {
  readonly timeMs: number;
  readonly kind: 'exec' | 'file' | 'limit' | 'life' | 'network';
  readonly text: string;
}

/** What a sandbox takes of the machine. */
export interface Usage {
  readonly memoryBytes: number;
  /** Time of the processor since its instance was made. */
  readonly cpuMs: number;
  /** As the machine counts them: under gVisor its own are among them. */
  readonly processes: number;
  /** Since its instance was made; undefined where that is not known. */
  readonly traffic: Traffic | undefined;
  /** What goes through its ports, which is not among that. */
  readonly ports: PortTraffic;
}

export interface Sandbox {
  readonly id: SandboxId;
  readonly taskId: TaskId;
  readonly spec: SandboxSpec;
  /** What keeps its programs from the machine, also while it starts. Undefined when it has ended, or when no usable runtime is there to start it. */
  readonly isolation: Isolation | undefined;
  readonly name: string | undefined;
  readonly tags: Readonly<Record<string, string>>;
  /** Unique among all sandboxes of the server: lists page by it. */
  readonly createdAtMs: number;
  readonly startedAtMs: number | undefined;
  readonly endedAtMs: number | undefined;
  readonly readyAtMs: number | undefined;
  readonly deadlineMs: number;
  /** Where the time of its start went; undefined until it has started, and of one that an earlier server started. */
  readonly startup: Startup | undefined;
  readonly state: SandboxState;
  readonly result: SandboxResult | undefined;
  /** What became of the snapshot that it was to be taken at its end; undefined until it ended, and when there was to be none. */
  readonly exitSnapshot: ExitSnapshot | undefined;
  /** The process the sandbox lives for. Undefined when it has none (it then stays until its deadline), or has not started it yet. */
  readonly entrypoint: Process | undefined;
  /** Output of the entrypoint; of a sandbox without one, two empty streams that end with the sandbox. Readable before it starts and after it ended. */
  readonly stdout: OutputReader;
  readonly stderr: OutputReader;
  /** What it takes now; undefined of one of which nothing runs. */
  usage(): Promise<Usage | undefined>;
  /** Waits until it has started: it runs, or is suspended. @throws SkerryError `sandbox-ended` when it ended first, saying why */
  waitUntilRunning(signal: AbortSignal): Promise<void>;
  /** The same, and wakes one that is suspended. */
  waitUntilAwake(signal: AbortSignal): Promise<void>;
  /**
   * Keeps it on the disk alone, until something is asked of it that needs it to run; resolves once nothing of it runs. No effect on one that is suspended.
   * @throws SkerryError `conflict` for one that is in use or has what cannot be kept, `unimplemented`, `disk-full`, `sandbox-ended`
   */
  suspend(signal: AbortSignal): Promise<void>;
  /** Its result once it ended, or at the latest after `timeoutMs`; undefined when nothing ends it by then. */
  wait(timeoutMs: number, signal: AbortSignal): Promise<SandboxResult | undefined>;
  /** Resolves at the first success of the readiness probe. @throws SkerryError `conflict` (no probe, or it ended), `deadline-exceeded` */
  waitUntilReady(timeoutMs: number, signal: AbortSignal): Promise<number>;
  /**
   * Starts a process; waits for a starting sandbox. The same id twice is the same process.
   * @throws SkerryError `sandbox-ended`, `program-not-found`, `program-not-executable`, `bad-workdir`, `resource-exhausted`
   */
  exec(id: ProcessId, spec: ExecSpec, signal: AbortSignal): Promise<Process>;
  /**
   * Connects to a TCP server inside, on whichever of the sandbox's own addresses it listens, the loopback first; waits for a starting sandbox. The stream half-closes
   * like a socket, fails when it breaks, and counts as activity while it is open: whoever has it must destroy it in the end.
   * @param port 1 to 65535
   * @throws SkerryError `connection-refused` (nothing listens), `deadline-exceeded` (what listens takes no connections), `resource-exhausted` (512 are open),
   * `unimplemented` (its agent is of an older version), `sandbox-ended`, `invalid-argument`
   */
  connect(port: number, signal: AbortSignal): Promise<Duplex>;
  /** @throws SkerryError `not-found` */
  process(id: ProcessId): Process;
  /** The processes that are known, running or not, oldest first; without the entrypoint. */
  processes(): readonly Process[];
  /** Ends it (result `terminated`); resolves once everything is gone, of one with an exit snapshot as soon as its end is sure. No effect on an ended one. */
  terminate(): Promise<void>;
  /** @throws SkerryError `already-exists` (taken), `conflict` (has another name, or ended), `invalid-argument` */
  setName(name: string): void;
  /** Replaces all tags. */
  setTags(tags: Readonly<Record<string, string>>): void;
  setNetworkPolicy(policy: NetworkPolicy): Promise<void>;
  /**
   * Replaces what is put into what it sends.
   * @throws SkerryError `conflict` for one that was made without; `invalid-argument`; `not-found` (secret); `sandbox-ended`
   */
  setSecretHeaders(specs: readonly SecretHeaderSpec[]): Promise<void>;
  /** Shows in its volumes what others made versions of since it began, or since the last time. @throws SkerryError `sandbox-ended`, `volume-full`, `disk-full` */
  reloadVolumes(signal: AbortSignal): Promise<void>;
  /** An image of its whole filesystem as it is now; it goes on running. @throws SkerryError `sandbox-ended`, `disk-full` */
  snapshotFilesystem(options: SnapshotOptions, signal: AbortSignal): Promise<Image>;
  /**
   * An image of what a directory holds, with what is mounted in it.
   * @throws SkerryError `not-found`, `invalid-argument` for the path; as `snapshotFilesystem`
   */
  snapshotDirectory(path: string, options: SnapshotOptions, signal: AbortSignal): Promise<Image>;
  /**
   * Keeps its memory and its files as they are now, for others that go on from there; it goes on itself.
   * @throws SkerryError `conflict` when it was not created for that, or has what no snapshot can have; `unimplemented`, `sandbox-ended`, `disk-full`
   */
  snapshotMemory(signal: AbortSignal): Promise<MemorySnapshotId>;
  /** The same for the operator, of a sandbox that was not created for it too. */
  keepMemory(signal: AbortSignal): Promise<MemorySnapshotId>;
  /**
   * Shows the files of an image at an absolute path, without one an empty directory; what is written there is of this mount alone.
   * @throws SkerryError `not-found` (image), `invalid-argument` for the path or the key, `resource-exhausted`, `sandbox-ended`
   */
  mountImage(path: string, image: MountedImage, signal: AbortSignal): Promise<void>;
  /** Uncovers what is below the last image that was mounted at the path. @throws SkerryError `not-found`, `sandbox-ended` */
  unmountImage(path: string, signal: AbortSignal): Promise<void>;
  /** What Skerry itself has to say about it: execs when `verbose`, what it reached when that is audited, bounds that were hit, why it ended. */
  events(): readonly SandboxLogEntry[];
  /** Appends a line to the log above when the sandbox is verbose. */
  logVerbose(kind: SandboxLogEntry['kind'], text: string): void;
  /** Restarts the idle clock. */
  touch(): void;
  /** Counts as activity until the returned function is called (an open tunnel connection, a stream). */
  hold(): () => void;
}

/** What a sandbox's main container and its sidecars have in common. */
export type Container = Pick<
  Sandbox,
  | 'taskId'
  | 'result'
  | 'wait'
  | 'terminate'
  | 'exec'
  | 'process'
  | 'snapshotFilesystem'
  | 'snapshotDirectory'
  | 'mountImage'
  | 'unmountImage'
  | 'reloadVolumes'
>;

/** A further container of a sandbox, which shares its network and lifetime; `taskId` is what callers know it by. */
export interface Sidecar extends Container {
  /** Always there. */
  readonly name: Sandbox['name'];
}

/** The sidecars of all sandboxes. Each counts as one of the sandboxes the server may run. */
export interface Sidecars {
  /**
   * Starts one and waits until it runs. The same `requestKey` again gives the same sidecar, also after a restart of the server.
   * @throws SkerryError `already-exists` (name), `not-found` (image, secret), `sandbox-ended`, `resource-exhausted`, `conflict` when it cannot
   * start
   */
  create(
    sandbox: Sandbox,
    spec: SidecarSpec,
    requestKey: string | undefined,
    signal: AbortSignal,
  ): Promise<Sidecar>;
  /** The running one of that name; with `includeEnded` the newest that had it. */
  find(sandbox: Sandbox, name: string, includeEnded: boolean): Sidecar | undefined;
  /** Running or ended. @throws SkerryError `not-found` */
  get(sandbox: Sandbox, id: TaskId): Sidecar;
  /** Newest first, at most 1000. */
  list(sandbox: Sandbox, includeEnded: boolean): readonly Sidecar[];
  /** The process of that id in whichever of them has it. */
  process(sandbox: Sandbox, id: ProcessId): Process | undefined;
}

export interface SandboxFilter {
  readonly appId?: AppId;
  readonly environmentId?: EnvironmentId;
  /** All must match. */
  readonly tags?: Readonly<Record<string, string>>;
  readonly includeEnded?: boolean;
  /** Only sandboxes created strictly before. */
  readonly beforeMs?: number;
  readonly limit: number;
}

export interface CreateOptions {
  /** `v1` for a caller that used the older RPCs and will go on with them. */
  readonly idShape?: SandboxIdShape;
  /** The same key again gives the same sandbox, also after a restart of the server. */
  readonly requestKey?: string | undefined;
  /** The token of the caller, whose quotas it counts for. Absent = nobody's. */
  readonly tokenId?: string | undefined;
  /** True = of several servers another one may keep it, for a caller that finds it by its id in each call. */
  readonly anywhere?: boolean;
}

export interface RestoreOptions extends Pick<CreateOptions, 'requestKey' | 'tokenId'> {
  /** Absent = the one that the other had; undefined = none. */
  readonly name?: string | undefined;
}

/** What a copy has of its own. */
export interface ForkCopy
  extends Partial<Pick<SandboxSpec, 'name' | 'externalKey'>>,
    Pick<CreateOptions, 'tokenId'> {
  /** Absent = those of the original. */
  readonly tags?: SandboxSpec['tags'];
}

export interface Sandboxes {
  /**
   * Admits a sandbox, writes its row and starts it in the background.
   * @throws SkerryError `already-exists` (name), `not-found` (image, secret, mount), `resource-exhausted` (no room), `quota-exceeded`, `invalid-argument`
   */
  create(spec: SandboxSpec, options?: CreateOptions): Promise<Sandbox>;
  /** @throws SkerryError `not-found` */
  memorySnapshot(id: MemorySnapshotId): MemorySnapshot;
  /** Those that have not expired, of all sandboxes or of one, newest first. */
  memorySnapshots(of?: SandboxId): readonly MemorySnapshot[];
  /** Nobody goes on from it any more; what did goes on. @throws SkerryError `not-found` */
  deleteMemorySnapshot(id: MemorySnapshotId): Promise<void>;
  /**
   * Admits a sandbox that goes on where another was, under an id of its own, and starts it in the background.
   * @throws SkerryError `not-found` (snapshot), `conflict` when another build of the runtime made it; as `create`
   */
  restore(id: MemorySnapshotId, options?: RestoreOptions): Promise<Sandbox>;
  /**
   * Has a sandbox go on where it was when that snapshot was taken of it, under its id and its name, with its memory and its files of then and its volumes as they are now. What execs began
   * is killed; its connections break. Resolves when it runs again.
   * @throws SkerryError `not-found` (snapshot), `conflict` for a snapshot of another sandbox or of another build, or when it has sidecars; `sandbox-ended`, `disk-full`
   */
  rollBack(id: SandboxId, to: MemorySnapshotId, signal: AbortSignal): Promise<void>;
  /**
   * Makes copies of a running sandbox, each under an id of its own, that go on where it is while it goes on itself. Resolves when all of them run; else there is none.
   * @throws SkerryError `unimplemented`, `conflict` for one that cannot be copied; `sandbox-ended`, `disk-full`, `unavailable` when one did not start; as `create`
   */
  fork(id: SandboxId, copies: readonly ForkCopy[], signal: AbortSignal): Promise<readonly Sandbox[]>;
  /** Running or ended. @throws SkerryError `not-found` */
  get(id: SandboxId): Sandbox;
  /** @throws SkerryError `not-found` */
  getByTask(id: TaskId): Sandbox;
  /** The running one of that name; with `includeEnded` the newest that had it. */
  findByName(appId: AppId, name: string, includeEnded: boolean): Sandbox | undefined;
  /** The running one with that external key. */
  findByExternalKey(key: string): Sandbox | undefined;
  /** Newest first. */
  list(filter: SandboxFilter): readonly Sandbox[];
}
