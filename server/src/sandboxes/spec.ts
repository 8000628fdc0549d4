/** What callers ask for: the validated definition of a sandbox and of a process. Built in `api/`, trusted from here on. */
import type { NetworkPolicy, RuntimeChoice } from '../engines/engine.ts';
import type { AppId, EnvironmentId, ImageId, MemorySnapshotId, MountId, SandboxId, TaskId } from '../ids.ts';
import { ANY_GPU, type GpuRequest, gpuType, MAX_GPUS } from '../instances/gpu-pool.ts';
import type { SecretSource } from '../secrets/secrets.ts';
import type { VolumeMountSpec } from '../volumes/volume-mount-specs.ts';
import type { BucketMountSpec } from './bucket-mounts.ts';
import type { SecretHeaderSpec } from './secret-headers.ts';
import type { WarmedUp } from './warm-ups.ts';

/** Callers of the domain name these without knowing the engines. */
export type { GpuRequest, NetworkPolicy, RuntimeChoice, SecretHeaderSpec };
export { ANY_GPU, gpuType, MAX_GPUS };

export interface PtySize {
  readonly rows: number;
  readonly cols: number;
}

export interface ReadinessProbe {
  readonly check:
    | { readonly kind: 'tcp'; readonly port: number }
    | { readonly kind: 'exec'; readonly argv: readonly string[] };
  readonly intervalMs: number;
}

/** Zero means the configured default. A limit is hard: a program over the memory limit is killed. */
export interface ResourceRequest {
  readonly memoryMiB: number;
  readonly memoryLimitMiB: number;
  readonly milliCpu: number;
  readonly milliCpuLimit: number;
  /** Absent in rows of versions that knew none. */
  readonly diskMiB?: number;
}

/** A port of a sandbox that is to be reached from outside, with TLS in any case. */
export interface OpenPort {
  readonly port: number;
  /** Whether clients may agree on HTTP/2 with it; its server speaks that without TLS then ("prior knowledge"). */
  readonly h2: boolean;
  /** Whether it is reached without TLS as well. */
  readonly plain: boolean;
}

export interface SandboxSpec {
  readonly appId: AppId;
  readonly environmentId: EnvironmentId;
  readonly imageId: ImageId;
  /** Unique among the running sandboxes of the app. */
  readonly name: string | undefined;
  readonly tags: Readonly<Record<string, string>>;
  /** Replaces the image's CMD (its ENTRYPOINT still applies); empty = the image's CMD. */
  readonly args: readonly string[];
  /** True = it runs nothing of its own, neither the image's ENTRYPOINT nor its CMD, and stays until its deadline (Modbox). */
  readonly noEntrypoint?: boolean;
  readonly secretSources: readonly SecretSource[];
  /** Absolute; created when missing. Undefined = the image's. */
  readonly workdir: string | undefined;
  readonly timeoutMs: number;
  readonly idleTimeoutMs: number | undefined;
  /** What becomes of it when it is idle. Absent = what the server's setting says; `suspend-or-end`: that says so, and it ends if it cannot be suspended then. */
  readonly idleAction?: 'end' | 'suspend' | 'suspend-or-end';
  readonly resources: ResourceRequest;
  /** Absent = none. */
  readonly gpu?: GpuRequest;
  readonly network: NetworkPolicy;
  /** What is put into what it sends, `network` as well has once it was admitted, sealed. Absent = it can have none, also later; absent in what is read from the store. */
  readonly secretHeaders?: readonly SecretHeaderSpec[];
  /** Networks from which somebody may come in, checked (`inbound.ts`). Absent or empty = all. */
  readonly inboundCidrs?: readonly string[];
  readonly runtime: RuntimeChoice | undefined;
  /** Present = the entrypoint runs on a terminal. */
  readonly pty: PtySize | undefined;
  /** True = its log also tells of execs and file operations. */
  readonly verbose: boolean;
  readonly readinessProbe: ReadinessProbe | undefined;
  /** True = snapshots of its memory may be taken. */
  readonly memorySnapshots?: boolean;
  /** Present = it goes on where another was when this was taken of it, instead of beginning. */
  readonly from?: MemorySnapshotId;
  /** Present = it begins from there, if it can: what its image has done first is done. */
  readonly warmUp?: WarmedUp;
  /** True = its files are made an image when it ends. */
  readonly exitSnapshot?: boolean;
  /** File mounts of the Python client (`add_local_*` without copy), laid over the image at their absolute paths. */
  readonly mountIds: readonly MountId[];
  /** Volumes in it. No two have the same target. */
  readonly volumes: readonly VolumeMountSpec[];
  /** No two are the same port. Absent = none. */
  readonly openPorts?: readonly OpenPort[];
  /** Absent = none. No two of these and the volumes have the same target. */
  readonly buckets?: readonly BucketMountSpec[];
  /** The caller's own id for it, unique among running sandboxes of the server (Modbox `taskId`). */
  readonly externalKey: string | undefined;
  /** Present = it is a sidecar: it shares that sandbox's network and lifetime, and is found only through it. */
  readonly sidecarOf?: SidecarOf;
}

export interface SidecarOf {
  readonly sandboxId: SandboxId;
  readonly taskId: TaskId;
  /** Unique among the sandbox's sidecars that have not ended. */
  readonly name: string;
}

/** What a caller says of a sidecar; the rest follows from its sandbox. */
export type SidecarSpec = Pick<
  SandboxSpec,
  'imageId' | 'args' | 'secretSources' | 'workdir' | 'resources' | 'pty' | 'volumes'
> & { readonly name: string };

export type StdioTarget = 'pipe' | 'null';

export interface ExecSpec {
  readonly argv: readonly string[];
  readonly secretSources: readonly SecretSource[];
  /** Must exist; a relative one is below the sandbox's. Undefined = the sandbox's. */
  readonly workdir: string | undefined;
  /** Lifetime of the process from the call on; then its whole group is killed. Undefined = none. */
  readonly timeoutMs: number | undefined;
  /** So much earlier than after `timeoutMs` it is killed, for a caller who reads its output with a clock of their own. */
  readonly timeoutLeadMs?: number;
  readonly pty: PtySize | undefined;
  readonly stdout: StdioTarget;
  readonly stderr: StdioTarget | 'stdout';
  /**
   * True = what cannot be started (no such program, no such directory) is a process that ends with exit code 128 and says why on stderr.
   * Otherwise it is an error.
   */
  readonly failureIsExit?: boolean;
}
