/**
 * The seam between the domain and whatever runs sandboxes: OCI runtimes on this machine (`oci/`), Pods elsewhere. Nothing above this file
 * asks which engine it talks to. Every engine passes `engine-conformance.ts`.
 */
import type { Duplex } from 'node:stream';
import type { AppId, InstanceId, SandboxId, VolumeMountId } from '../ids.ts';
import type { Traffic } from '../network/namespaces.ts';
import { describeEvent, type NetworkEvent } from '../network/network-events.ts';
import { isAudited, type NetworkPolicy } from '../network/policy.ts';
import type { HeaderAuthority, HeaderRule, SecretHeaders } from '../network/secret-headers.ts';
import type { Phases } from '../platform/phases.ts';
import type { InstanceBucket } from './bucket.ts';
import type { CheckpointRef, LayerRef, MountRef } from './references.ts';

/** `auto` prefers gVisor where it works on the machine and falls back to hardened runc. */
export type RuntimeChoice = 'auto' | 'gvisor' | 'runc';
export type RuntimeName = 'gvisor' | 'runc';

/**
 * What keeps an instance's programs from the machine. `runc-shared-users`: under runc, and its users are the machine's, so that what the kernel counts for each
 * user is shared with all others of these and with the machine.
 */
export type Isolation = RuntimeName | 'runc-shared-users';

export type { HeaderAuthority, HeaderRule, NetworkEvent, NetworkPolicy, SecretHeaders, Traffic };
export { describeEvent, isAudited };

export interface InstanceLimits {
  /** Hard memory limit in MiB; a program over it is killed. */
  readonly memoryMiB: number;
  /** CPU bandwidth in thousandths of a core. */
  readonly milliCpu: number;
  /** CPU request in thousandths of a core, used as relative weight under contention. */
  readonly milliCpuRequest: number;
  /** Processes and threads together. */
  readonly pids: number;
}

/** A directory or file shown inside the instance. */
export interface InstanceMount {
  readonly source: MountRef;
  readonly target: string;
  readonly readOnly: boolean;
}

/** A piece of hardware that instances can be given. */
export interface Device {
  /** Known to the engine alone: `nvidia.com/gpu=0`. */
  readonly name: string;
  /** What it is asked for as, in capitals, the most exact first (`A100-80GB`, `A100`); empty when nothing is known of it. */
  readonly types: readonly string[];
  /** Under which an instance can have it. Empty = under none that is there. */
  readonly runtimes: ReadonlySet<RuntimeName>;
  /**
   * Present for a kind of which there may be any number, wherever the engine finds free ones: it does so when an instance starts, within this time, and nobody
   * else counts who has them. An instance that is to have several is given the name as often.
   */
  readonly foundWithinMs?: number;
}

/** What of files an instance can have beside those of its layers and mounts. */
export interface DiskSize {
  readonly sizeMiB: number;
  /** Files, directories and whatever else has a name. */
  readonly files: number;
}

/** Disks that are kept until they are removed, whatever ends: instance, server or machine. Names are file names of the caller's. */
export interface KeptDisks {
  /** Whether new ones can be made on this machine. Those that there are can be used all the same. */
  readonly work: boolean;
  has(name: string): boolean;
  /** The directory of one, once it is made or opened. */
  at(name: string): string;
  /** @throws SkerryError `disk-full`, `internal` */
  make(name: string, size: DiskSize): Promise<void>;
  /** Sees to it that one which is there can be used: after a start of the machine it cannot. Idempotent. */
  open(name: string): Promise<void>;
  /** Idempotent. What is in it is lost. */
  remove(name: string): Promise<void>;
  /** Of all there are, unfinished ones included. */
  names(): Promise<readonly string[]>;
}

/** What an instance is, whoever it will be for: fixed from the moment it is prepared. */
export interface Shape {
  readonly id: InstanceId;
  /**
   * A running instance whose network this one shares, loopback and addresses included: a sidecar. It also has that instance's runtime and network
   * policy, whatever is said of them, and is destroyed before it. Under gVisor the two share one kernel and the limits of the first.
   */
  readonly joins?: InstanceId;
  /** Those of the image, lowest first. */
  readonly layers: readonly LayerRef[];
  readonly runtime: RuntimeChoice;
  /** Names of the devices it has; of kinds (`Device.foundWithinMs`) one alone. With `auto`, a runtime under which it can have them. That nobody else has them is the caller's to see to, but for kinds. */
  readonly devices?: readonly string[];
  /**
   * Bounds all that it writes in its root filesystem, in scratch mounts and in what is mounted by `Instance.mount`, together; without it, the machine's disk does.
   */
  readonly disk?: DiskSize;
  /**
   * For one that is to be up before anybody needs it: what it will most likely be given. Its agent runs from then on, and `bind` changes what turns out to be
   * different, as far as `Capabilities.bindsLate` goes. Without it the agent starts when it is bound, and whatever it is given is there from the beginning.
   */
  readonly expects?: Expected;
  /**
   * It goes on where the instance was that this was taken of, instead of beginning. Its layers are those of that one and the one that was made then, its limits and the
   * targets of its mounts, which may be others, the same. Its agent has the connections and processes of that one's until it is told otherwise (`AgentClient.renew`).
   */
  readonly from?: CheckpointRef;
}

/** Whose an instance is, for people who look at what an engine has by other ways than ours. */
export interface Marks {
  readonly sandbox: SandboxId;
  readonly app: AppId;
  readonly name: string | undefined;
  readonly tags: Readonly<Record<string, string>>;
}

/** What makes an instance somebody's. */
export interface Tenure {
  readonly hostname: string;
  readonly limits: InstanceLimits;
  readonly network: NetworkPolicy;
  readonly mounts: readonly InstanceMount[];
  /** Absent = none. No two of these and the mounts have the same target. */
  readonly buckets?: readonly InstanceBucket[];
  readonly marks?: Marks;
  /** Called when it has to wait until others give back what it needs, room or devices: others may well start before it. */
  readonly onWait?: () => void;
}

/** What of a tenure programs can see. */
export type TenurePart = Exclude<keyof Tenure, 'marks' | 'onWait'>;

export type Expected = Pick<Tenure, Exclude<TenurePart, 'mounts' | 'buckets'>>;

/** What an engine can do under a runtime. What it cannot, it refuses with the error `unimplemented`; nothing above it asks which engine it is. */
export interface Capabilities {
  /** What can turn out other than expected for an instance whose agent runs already. */
  readonly bindsLate: ReadonlySet<TenurePart>;
  /** Instances can join another. */
  readonly joins: boolean;
  /** `Instance.commit` */
  readonly commit: boolean;
  /** `Instance.setNetworkPolicy` */
  readonly networkPolicy: boolean;
  /** `Tenure.mounts`, which are the directories themselves. */
  readonly tenureMounts: boolean;
  /** Of `Tenure.mounts` volumes, as copies of their directories (`Instance.copies`). */
  readonly copiedVolumes: boolean;
  /** `Instance.mount` and `unmount` */
  readonly mounts: boolean;
  /** `Instance.commitDirectory` */
  readonly commitDirectory: boolean;
  /** `Shape.devices` */
  readonly devices: boolean;
  /** `Shape.disk` */
  readonly disk: boolean;
  /** `Tenure.buckets` */
  readonly buckets: boolean;
  /** `Instance.checkpoint` and `Shape.from` */
  readonly checkpoints: boolean;
}

/** Writes into an empty directory of this machine. @throws the signal's reason */
export type FillMount = (directory: string, signal: AbortSignal) => Promise<void>;

/**
 * The working trees of an instance that has copies of them, since it is where this machine's directories are not. Both are like each other when it was bound, and whenever one of
 * these has resolved, but for what changed meanwhile. Only one is called at a time for one tree, and nobody else changes the tree meanwhile.
 */
export interface MountCopies {
  /**
   * Brings what the instance changed into the tree. Works until the instance is destroyed, also once it was stopped.
   * @throws SkerryError `sandbox-ended`, `disk-full`, `invalid-argument` for more than a volume may hold; the signal's reason
   */
  collect(tree: VolumeMountId, signal: AbortSignal): Promise<void>;
  /** Brings what changed in the tree into the instance; what the instance changed as well stays there as it is. @throws as `collect`; `resource-exhausted` when there is no room there */
  deliver(tree: VolumeMountId, signal: AbortSignal): Promise<void>;
}

/** Why an instance is no longer there. */
export type InstanceExit =
  | { readonly reason: 'destroyed' }
  | { readonly reason: 'out-of-memory' }
  /** The agent or the runtime died; `message` says what is known. */
  | { readonly reason: 'crashed'; readonly message: string };

export interface InstanceStats {
  readonly memoryBytes: number;
  readonly cpuUsageNs: number;
  readonly pids: number;
  /** How often the kernel killed a process of the instance for memory. */
  readonly oomKills: number;
  /** What went through its own network; undefined of one that shares another's, and where the engine cannot tell. */
  readonly traffic?: Traffic;
}

/** A FIFO of a sandbox. */
export interface Fifo {
  /** Absolute, without links. */
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds after 1970 with nine decimals. */
  readonly mtime: string;
  /** The same of the directory it is in. */
  readonly directoryMtime: string;
}

export interface CommitOptions {
  readonly move: boolean;
  /** Has a live instance with `filesInMemory` write them out; gives those that it keeps from the engine. Called right before it stands still. */
  readonly settle?: () => Promise<readonly Fifo[]>;
}

export interface CheckpointOptions extends Pick<CommitOptions, 'settle'> {
  /** Whether it need not outlive the machine: whoever begins from it does so at once. */
  readonly brief?: boolean;
  /** All stand still afterwards, until `resume` or the destroy: what is kept is then the last that they did. */
  readonly stays?: boolean;
}

export interface Instance {
  readonly id: InstanceId;
  readonly runtime: RuntimeName;
  readonly isolation: Isolation;
  /** Names of those it has. */
  readonly devices: readonly string[];
  /** Variables that programs need to find its devices. */
  readonly deviceEnvironment: Readonly<Record<string, string>>;
  /**
   * A fresh byte channel to the agent (agent/PROTOCOL.md), before HELLO was read; paused, so that nothing is lost before
   * its reader calls `resume`. Waits until the agent has one to give.
   * @throws SkerryError `sandbox-ended` when the instance is gone; the signal's reason when aborted.
   */
  dial(signal: AbortSignal): Promise<Duplex>;
  /**
   * True when its kernel keeps part of its files to itself: before `commit`, or `stop` and `commit`, the agent has to write them out and tell the FIFOs
   * (`agent/settle-files.ts`).
   */
  readonly filesInMemory?: boolean;
  /** Where the layers of an instance with `filesInMemory` have FIFOs, absolute: they work once its agent made them anew. */
  imageFifos?(): Promise<readonly string[]>;
  /** Undefined where what is mounted is the directories themselves. */
  readonly copies?: MountCopies | undefined;
  /** Settles once, never rejects. */
  readonly exited: Promise<InstanceExit>;
  /** For how long its agent may say nothing before it counts as lost, milliseconds: a minute, unless somebody else says in that time what became of it. */
  readonly silenceMs?: number;
  stats(): Promise<InstanceStats>;
  /** Lets its agent go on if it was stopped, or does not know that a checkpoint took its connections away. */
  wake(): Promise<void>;
  /**
   * Makes the instance's writable layer the new layer `layer`. `move` may take the files instead of copying them and is only allowed once the instance was
   * stopped with `stop`. A live instance is paused meanwhile; its destroy breaks the commit off. Sockets are left out.
   */
  commit(layer: LayerRef, options: CommitOptions): Promise<void>;
  /**
   * Shows these layers, lowest first, with a writable one of this mount's own on top, at an absolute path of the running instance; none are an empty directory. The path is
   * made when it is missing; what was there is covered. `fill` writes what that layer holds from the beginning; nothing of it is left when the mount is gone.
   * @throws SkerryError `invalid-argument` for a path where nothing can be mounted, `resource-exhausted`, `sandbox-ended`; what `fill` throws
   */
  mount(path: string, layers: readonly LayerRef[], fill?: FillMount): Promise<void>;
  /** Takes away what was mounted last at that path; what it covered is there again. @throws SkerryError `not-found`, `sandbox-ended` */
  unmount(path: string): Promise<void>;
  /** The layers of what is mounted: they must stay. */
  readonly mountedLayers: readonly LayerRef[];
  /**
   * Makes a directory of the running instance, with what is mounted in it, the new layer `layer`, as `commit` does.
   * @throws SkerryError `not-found`, `invalid-argument` for the path, `sandbox-ended`
   */
  commitDirectory(path: string, layer: LayerRef, options: Pick<CommitOptions, 'settle'>): Promise<void>;
  /**
   * Keeps what its programs are at one moment: their memory as `to`, and the writable layer as the new layer `layer`, as `commit` does. All stand still meanwhile, and go on
   * with other connections to the agent. Not in the layer: FIFOs, which are in the memory; what is mounted.
   * @throws SkerryError `conflict` for an instance with devices, buckets, mounted layers or another that shares its network, or that does itself; `disk-full`,
   * `sandbox-ended`
   */
  checkpoint(to: CheckpointRef, layer: LayerRef, options: CheckpointOptions): Promise<void>;
  /** Has all go on that a checkpoint had stand still. No effect where nothing stands still. @throws SkerryError `sandbox-ended` */
  resume(): Promise<void>;
  /** @throws SkerryError `conflict` for an instance that shares another's network, `sandbox-ended` */
  setNetworkPolicy(policy: NetworkPolicy): Promise<void>;
  /** The one it was bound with or was given last; of one that shares another's network that means nothing. */
  readonly networkPolicy: NetworkPolicy;
  /** What it did on its network since this was last asked, where its policy is audited; once it was destroyed, what it did to the end. */
  networkEvents(): Promise<readonly NetworkEvent[]>;
  /** Has it be marked so from now on; of several calls the last one counts. Undefined where nobody could see it. @throws SkerryError `unavailable`, `sandbox-ended` */
  mark?(marks: Marks): Promise<void>;
  /** Kills everything in the instance but keeps its files for `commit`. Idempotent. */
  stop(): Promise<void>;
}

/** An instance that is nobody's yet. */
export interface Prepared {
  readonly id: InstanceId;
  readonly runtime: RuntimeName;
  /** What id 0 of its users is on this machine, and the 65,535 after it, where they are its own: volumes are to be shown to it with these ids. */
  readonly firstId?: number | undefined;
  /**
   * Resolves when it is of no use to anybody: its first process died while it waited, or its room is needed. Never for one whose first process starts with `bind`,
   * nor once that was called.
   */
  readonly died: Promise<void>;
  /**
   * Makes it somebody's, once; `phases` has how long which part of that took then. Whatever keeps it from that, nothing of it is left then.
   * @throws SkerryError `conflict` for one that was bound before, which goes on; `sandbox-ended` when it, or the one it joins, is gone; `unimplemented` for what
   * cannot be given to it any more; `invalid-argument` for what nobody can be given
   */
  bind(tenure: Tenure, signal: AbortSignal, phases?: Phases): Promise<Instance>;
}

export interface Adopted {
  readonly instances: ReadonlyMap<InstanceId, Instance>;
  /** Of these something could not be removed: `Engine.destroy` is to be called until it succeeds. With the devices that they may have still. */
  readonly left: ReadonlyMap<InstanceId, readonly string[]>;
}

/** Whether nobody comes back to what this one of several servers made and nobody knows. */
export type IsLeft = (member: string | undefined) => boolean;

export interface EngineCheck {
  readonly name: string;
  readonly ok: boolean;
  /** Without it the engine cannot work at all. */
  readonly required: boolean;
  readonly found: string;
  readonly remedy: string;
}

export interface Engine {
  readonly name: string;
  /** What the machine must have, found or not: `skerry doctor` and start-up print it. */
  check(): Promise<readonly EngineCheck[]>;
  /** Prepares the machine (bridge, firewall table, cgroup parent, resolver). Must be called once, before anything else. */
  open(): Promise<void>;
  /** What runs an instance with this choice that joins none, as far as it is known before one is made. @throws SkerryError `unavailable` */
  runtimeFor(choice: RuntimeChoice): RuntimeName;
  capabilities(runtime: RuntimeName): Capabilities;
  /** Undefined for an engine that has none. */
  readonly keptDisks: KeptDisks | undefined;
  /** What an instance will have that is made now. */
  isolationUnder(runtime: RuntimeName): Isolation;
  /** The GPUs that there are now, whoever has them. */
  gpus(): Promise<readonly Device[]>;
  /**
   * Whether a checkpoint can be gone on from here.
   * @throws SkerryError `not-found`, `unimplemented`; `conflict` when another build made it, naming both
   */
  requireRestorable(from: CheckpointRef): Promise<void>;
  /**
   * Makes an instance that is nobody's; `phases` as for `Prepared.bind`. On failure nothing is left behind, as far as it could be removed: see `destroy`.
   * @throws SkerryError `already-exists` (id), `sandbox-ended` when the one it joins is gone, `disk-full`, `unimplemented`, `unavailable` for a device that is
   * not there or that the runtime cannot hand on; as `requireRestorable`
   */
  prepare(shape: Shape, signal: AbortSignal, phases?: Phases): Promise<Prepared>;
  /**
   * Takes over the instances in `ids` that were bound and still live, whoever made them, and removes what belongs to nobody: after a restart, and while it runs when another server is gone
   * whose instances these are. Ids that were not taken over are gone; `oomKilled` in the log tells what is known of them. What this engine has already stays as it is. Where another engine
   * has an instance that is taken over from it, that one lets go of it as soon as it finds out: there nothing can be asked of it any more, it does not exit, and `destroy` leaves it alone.
   * @param of whose leavings are removed where they are in no `ids`, by who made them (`undefined`: a server without others); all by default. It is asked after the engine looked what
   * there is, so that whoever begins to make instances before it is asked can be spared. Engines of one machine are nobody else's, and do not ask.
   */
  adopt(ids: ReadonlySet<InstanceId>, of?: IsLeft): Promise<Adopted>;
  /**
   * Stops an instance, prepared or bound, and removes every trace: mounts, namespace, cgroup, rules, files; also what is left of one that could not be made, or
   * not be removed before. What is under way with it is broken off. Idempotent; joins a destroy under way; an id that nothing is known of is fine.
   * @throws when something could not be removed: it is to be called again
   */
  destroy(id: InstanceId): Promise<void>;
  /** Lets go of the machine but not of running instances (a restart may adopt them). */
  close(): Promise<void>;
  /** After every instance is destroyed: removes bridge, table, cgroup parent, run directory. */
  remove(): Promise<void>;
}
