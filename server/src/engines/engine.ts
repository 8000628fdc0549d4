/**
 * The seam between the domain and whatever runs sandboxes: OCI runtimes on this machine (`oci/`), Pods elsewhere. Nothing above this file
 * asks which engine it talks to. Every engine passes `engine-conformance.ts`.
 */
import type { Duplex } from 'node:stream';
import type { InstanceId } from '../ids.ts';
import type { NetworkPolicy } from '../network/policy.ts';
import type { LayerRef, MountRef } from './references.ts';

/** `auto` prefers gVisor where it works on the machine and falls back to hardened runc. */
export type RuntimeChoice = 'auto' | 'gvisor' | 'runc';
export type RuntimeName = 'gvisor' | 'runc';

export type { NetworkPolicy };

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

export interface InstanceSpec {
  readonly id: InstanceId;
  /**
   * A running instance whose network this one shares, loopback and addresses included: a sidecar. It also has that instance's runtime and network
   * policy, whatever this spec says of them, and is destroyed before it. Under gVisor the two share one kernel and the limits of the first.
   */
  readonly joins?: InstanceId;
  /** Those of the image, lowest first. */
  readonly layers: readonly LayerRef[];
  readonly hostname: string;
  readonly runtime: RuntimeChoice;
  readonly limits: InstanceLimits;
  readonly network: NetworkPolicy;
  readonly mounts: readonly InstanceMount[];
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
  /** Those that `filesInMemory` keeps from the engine; only for a live instance. */
  readonly fifos?: readonly Fifo[];
}

export interface Instance {
  readonly id: InstanceId;
  readonly runtime: RuntimeName;
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
  /** Settles once, never rejects. */
  readonly exited: Promise<InstanceExit>;
  stats(): Promise<InstanceStats>;
  /** Lets its agent go on when a program inside stopped it. Absent where the kernel protects the agent from that. */
  wake?(): Promise<void>;
  /**
   * Makes the instance's writable layer the new layer `layer`. `move` may take the
   * files instead of copying them and is only allowed once the instance was stopped with `stop`. A live instance is paused meanwhile; its destroy
   * breaks the commit off. Sockets are left out.
   */
  commit(layer: LayerRef, options: CommitOptions): Promise<void>;
  /** @throws SkerryError `conflict` for an instance that shares another's network, `sandbox-ended` */
  setNetworkPolicy(policy: NetworkPolicy): Promise<void>;
  /** Kills everything in the instance but keeps its files for `commit`. Idempotent. */
  stop(): Promise<void>;
  /**
   * Stops and removes every trace: mounts, namespace, cgroup, rules, files. Idempotent; joins a destroy under way.
   * @throws when something could not be removed; the engine goes on trying by itself until it is closed
   */
  destroy(): Promise<void>;
}

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
  /** Starts an instance with the agent in it. On failure nothing is left behind. @throws SkerryError `sandbox-ended` when the one it joins is gone */
  create(spec: InstanceSpec, signal: AbortSignal): Promise<Instance>;
  /**
   * After a restart: takes over the instances in `ids` that still live and removes what belongs to nobody. Ids not in the result are gone; `oomKilled`
   * in the log tells what is known of them.
   */
  adopt(ids: ReadonlySet<InstanceId>): Promise<ReadonlyMap<InstanceId, Instance>>;
  /** Lets go of the machine but not of running instances (a restart may adopt them). */
  close(): Promise<void>;
  /** After every instance is destroyed: removes bridge, table, cgroup parent, run directory. */
  remove(): Promise<void>;
}
