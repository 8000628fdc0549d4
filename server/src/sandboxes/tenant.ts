/** What a sandbox runs as, and the parts it runs with. */
import type { AgentClient } from '../agent/agent-client.ts';
import type { InstanceBucket } from '../engines/bucket.ts';
import type { DiskSize, Instance } from '../engines/engine.ts';
import type { InstanceId, MemorySnapshotId } from '../ids.ts';
import type { Image } from '../images/image.ts';
import type { GpuClaim } from '../instances/gpu-pool.ts';
import type { WarmedUp, WarmUp } from './warm-ups.ts';

/** Everything a start needs that is not in the row: made by the service out of image, secrets and mounts. */
export interface LaunchPlan {
  /** The image with the file mounts over it; snapshots continue from it. */
  readonly image: Image;
  /** What it goes on from, if it does. */
  readonly from: MemorySnapshotId | undefined;
  /** What is done before its own program starts, with what it begins from instead. Undefined: nothing, or it is done. */
  readonly warmUp: (WarmUp & { readonly from: WarmedUp | undefined }) | undefined;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workdir: string;
  readonly user: string;
  /** The instance whose network it shares. */
  readonly joins: InstanceId | undefined;
  readonly runtime: 'auto' | 'gvisor' | 'runc';
  /** Those it has claimed. */
  readonly gpus: GpuClaim | undefined;
  readonly limits: { memoryMiB: number; milliCpu: number; milliCpuRequest: number; pids: number };
  /** Undefined where the machine cannot bound it. */
  readonly disk: DiskSize | undefined;
  readonly buckets: readonly InstanceBucket[];
}

/** The parts of a running sandbox; they exist together or not at all. */
export interface Tenant {
  readonly instance: Instance;
  readonly agent: AgentClient;
  readonly plan: LaunchPlan;
}
