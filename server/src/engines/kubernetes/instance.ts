/** A sandbox that is a Pod. */

import type { Duplex } from 'node:stream';
import type { V1Pod } from '@kubernetes/client-node';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceId } from '../../ids.ts';
import { checkPolicy } from '../../network/policy.ts';
import { Limiter } from '../../platform/limiter.ts';
import { unlessAborted } from '../../platform/wait.ts';
import type {
  CommitOptions,
  Instance,
  InstanceExit,
  InstanceStats,
  Isolation,
  Marks,
  MountCopies,
  NetworkEvent,
  NetworkPolicy,
  RuntimeName,
} from '../engine.ts';
import { ended } from '../preparation.ts';
import type { LayerRef } from '../references.ts';
import type { Cluster } from './cluster.ts';
import type { Link } from './link.ts';
import type { PodAgent } from './pod-agent.ts';
import type { PodFiles } from './pod-files.ts';
import { type Labels, marksFor } from './pod-marks.ts';
import { networked, type PodNetwork, requireEnforceable } from './pod-network.ts';
import { BOUND_LABEL, NODE_LOST_SECONDS, type PodVolume } from './pod-spec.ts';
import { isSilent, NODE_LOST, standingOf } from './pod-status.ts';
import type { PodVolumes } from './pod-volumes.ts';
import { unable } from './unable.ts';

export interface PodParts {
  readonly id: InstanceId;
  readonly runtime: RuntimeName;
  readonly isolation: Isolation;
  /** Of its Pod and its Secret. */
  readonly name: string;
  /** @see Instance.devices */
  readonly devices: readonly string[];
  /** @see Instance.deviceEnvironment */
  readonly deviceEnvironment: Readonly<Record<string, string>>;
  readonly address: string;
  readonly link: Link;
  readonly cluster: Cluster;
  /** The uid of its Secret. */
  readonly owner: string;
  /** Undefined where nobody holds Pods to policies. */
  readonly network: PodNetwork | undefined;
  readonly policy: NetworkPolicy;
  /** Those of its image; undefined where that is not known any more. */
  readonly layers: readonly LayerRef[] | undefined;
  /** Of its Pod, as they were written last. */
  readonly labels: Labels;
  readonly agent: PodAgent;
  readonly files: PodFiles;
  readonly volumes: readonly PodVolume[];
  readonly podVolumes: PodVolumes;
  readonly onDestroyed: () => void;
}

const STATS_TIMEOUT_MS = 10_000;
/** An agent answers at once; where none does within this, nothing can be had of its sandbox. */
const STOP_TIMEOUT_MS = 30_000;

export class PodInstance implements Instance {
  readonly id: InstanceId;
  readonly runtime: RuntimeName;
  readonly isolation: Isolation;
  readonly devices: readonly string[];
  readonly deviceEnvironment: Readonly<Record<string, string>>;
  readonly mountedLayers: readonly LayerRef[] = [];
  readonly exited: Promise<InstanceExit>;
  /** A silent agent may be one of a lost node, which the cluster says later. */
  readonly silenceMs = (NODE_LOST_SECONDS + 30) * 1000;
  readonly copies: MountCopies;
  readonly #parts: PodParts;
  readonly #exit = Promise.withResolvers<InstanceExit>();
  /** Aborted once nothing can be asked of it any more. */
  readonly #gone = new AbortController();
  #unfollow: () => void = () => {};
  /** For the cluster. */
  #isSilent = false;
  #isReleased = false;
  #stopping: Promise<void> | undefined;
  #policy: NetworkPolicy;
  #labels: Labels;
  /** Aborted by the first destroy: a copy under way is of no use any more. */
  readonly #leaving = new AbortController();
  /** Aborted when it is gone by itself, also after it was stopped: nothing can be had of it any more. */
  readonly #lost = new AbortController();
  /** Aborted with either: no copy is worth waiting for then. */
  readonly #over = AbortSignal.any([this.#leaving.signal, this.#lost.signal]);
  /** Copies of its files: one after the other. */
  readonly #copies = new Limiter(1);
  /** Changes of its policy and its marks: one after the other. */
  readonly #changes = new Limiter(1);

  constructor(parts: PodParts) {
    this.#parts = parts;
    this.id = parts.id;
    this.runtime = parts.runtime;
    this.isolation = parts.isolation;
    this.devices = parts.devices;
    this.deviceEnvironment = parts.deviceEnvironment;
    this.#policy = parts.policy;
    this.#labels = parts.labels;
    this.exited = this.#exit.promise;
    const copies = parts.podVolumes.copies(parts.id, parts.volumes, this.#dialAlways);
    const either = (signal: AbortSignal) => AbortSignal.any([signal, this.#over]);
    this.copies = {
      collect: (tree, signal) => copies.collect(tree, either(signal)),
      deliver: (tree, signal) => copies.deliver(tree, either(signal)),
    };
    this.#unfollow = parts.cluster.follow(parts.name, (pod) => this.#look(pod));
    if (this.#lost.signal.aborted) this.#unfollow(); // over from the beginning
  }

  async dial(signal: AbortSignal): Promise<Duplex> {
    const { link, address } = this.#parts;
    return link.dial(address, AbortSignal.any([signal, this.#gone.signal]));
  }

  async stats(): Promise<InstanceStats> {
    const limit = AbortSignal.timeout(STATS_TIMEOUT_MS);
    const read = this.#parts.agent.stats((signal) => this.dial(signal), limit);
    return unlessAborted(read, this.#gone.signal);
  }

  /** Nobody wakes a Pod. But one whose agent is silent and whose node is, has nobody who would wake. */
  async wake(): Promise<void> {
    if (this.#isSilent) this.#end({ reason: 'crashed', message: NODE_LOST });
  }

  async resume(): Promise<void> {
    this.#gone.signal.throwIfAborted();
  }

  commit(layer: LayerRef, { move }: CommitOptions): Promise<void> {
    return this.#copies.run(async () => {
      this.#requireFiles();
      if (move && !this.#stopping) {
        const said = `Sandbox ${this.id} must be stopped before its files can be moved.`;
        throw new SkerryError('conflict', said);
      }
      const { files, layers } = this.#parts;
      await files.commit(this.#dialAlways, layers, layer, this.#over);
    });
  }

  async mount(): Promise<void> {
    throw unable('have images mounted');
  }

  async unmount(): Promise<void> {
    throw unable('have images mounted');
  }

  commitDirectory(path: string, layer: LayerRef): Promise<void> {
    return this.#copies.run(async () => {
      this.#gone.signal.throwIfAborted();
      await this.#parts.files.commitDirectory(this.#dialAlways, path, layer, this.#over);
    });
  }

  async checkpoint(): Promise<void> {
    throw unable('be suspended or have its memory kept');
  }

  get networkPolicy(): NetworkPolicy {
    return this.#policy;
  }

  /** Resolves when the cluster knows it; its network may take a moment to go by it. */
  setNetworkPolicy(policy: NetworkPolicy): Promise<void> {
    return this.#changes.run(async () => {
      const { network } = this.#parts;
      if (!network) throw unable('be given another network policy');
      this.#gone.signal.throwIfAborted();
      checkPolicy(policy);
      requireEnforceable(policy);
      await network.change(networked(this.#parts), policy);
      this.#policy = policy;
    });
  }

  mark(marks: Marks): Promise<void> {
    return this.#changes.run(async () => {
      this.#gone.signal.throwIfAborted();
      const { cluster, name } = this.#parts;
      this.#labels = await cluster.markPod(name, marksFor(marks, this.#labels));
    });
  }

  async networkEvents(): Promise<readonly NetworkEvent[]> {
    return [];
  }

  /** Its Pod and the agent stay, which alone can give its files away. */
  async stop(): Promise<void> {
    if (this.#isReleased) return;
    this.#end({ reason: 'destroyed' });
    this.#stopping ??= this.#halt().catch((error: unknown) => {
      this.#stopping = undefined;
      throw error;
    });
    return this.#stopping;
  }

  async #halt(): Promise<void> {
    const { agent, cluster, name } = this.#parts;
    // A server that finds it takes it away.
    await cluster.markPod(name, { labels: { [BOUND_LABEL]: 'false' } });
    const limit = AbortSignal.timeout(STOP_TIMEOUT_MS);
    await agent.killAll(this.#dialAlways, AbortSignal.any([this.#over, limit]));
  }

  /** Another server has it: it goes on, and nothing can be asked of it here any more. */
  release(): void {
    this.#isReleased = true;
    const why = new SkerryError('unavailable', `Another server has taken ${this.id} over.`);
    for (const over of [this.#gone, this.#leaving, this.#lost]) over.abort(why);
    this.#parts.network?.release(this);
    this.detach();
  }

  /** @throws when something is left: it is to be called again */
  async destroy(): Promise<void> {
    this.#leaving.abort(ended(this.id));
    this.#unfollow();
    this.#end({ reason: 'destroyed' });
    await this.#parts.network?.dismiss(this);
    await this.#parts.cluster.removePod(this.#parts.name);
    await this.#copies.idle();
    await this.#parts.network?.forget(this);
    await this.#parts.cluster.removeSecret(this.#parts.name);
    await this.#parts.podVolumes.forget(this.id);
    this.#parts.onDestroyed();
  }

  /** Lets go of it. */
  detach(): void {
    this.#unfollow();
    this.#parts.link.close();
  }

  /** Also of one that was stopped. */
  readonly #dialAlways = (signal: AbortSignal): Promise<Duplex> => {
    const { link, address } = this.#parts;
    return link.dial(address, AbortSignal.any([signal, this.#over]));
  };

  #requireFiles(): void {
    this.#leaving.signal.throwIfAborted();
    if (!this.#stopping) this.#gone.signal.throwIfAborted();
  }

  #look(pod: V1Pod | undefined): void {
    this.#isSilent = pod !== undefined && isSilent(pod);
    const standing = standingOf(pod);
    if (standing.kind === 'over') this.#end(standing.exit);
  }

  #end(exit: InstanceExit): void {
    if (exit.reason !== 'destroyed') this.#lose();
    if (this.#gone.signal.aborted) return;
    this.#gone.abort(ended(this.id));
    this.#exit.resolve(exit);
    this.#parts.link.close();
  }

  #lose(): void {
    this.#lost.abort(ended(this.id));
    this.#unfollow();
    this.#parts.link.close();
  }
}
