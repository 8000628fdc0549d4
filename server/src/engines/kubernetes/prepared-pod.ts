/** A sandbox on its way to somebody: a Secret first, and a Pod as soon as it is known what that is to be. */
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceId } from '../../ids.ts';
import { checkPolicy, type NetworkPolicy } from '../../network/policy.ts';
import { unlessAborted, withDeadline } from '../../platform/wait.ts';
import type {
  Capabilities,
  Expected,
  Instance,
  InstanceExit,
  Isolation,
  Prepared,
  RuntimeName,
  Shape,
  Tenure,
} from '../engine.ts';
import { lateParts } from '../late-binding.ts';
import { checkMountTarget } from '../mount-target.ts';
import { ended, Preparation } from '../preparation.ts';
import type { Cluster } from './cluster.ts';
import type { Credentials } from './credentials.ts';
import { deviceVariables } from './device-variables.ts';
import { inWords, type PodGpus } from './gpu-kinds.ts';
import { PodInstance } from './instance.ts';
import { Link } from './link.ts';
import { isCrowded, Placement } from './placement.ts';
import type { PodAgent } from './pod-agent.ts';
import type { PodFiles } from './pod-files.ts';
import { marksFor } from './pod-marks.ts';
import { networked, type PodNetwork, requireEnforceable } from './pod-network.ts';
import {
  BOUND_LABEL,
  type CertificateFile,
  deviceMarks,
  namesOf,
  type PodVolume,
  podName,
  podOf,
  secretOf,
} from './pod-spec.ts';
import { standingOf } from './pod-status.ts';
import { type PodVolumes, volumesOf } from './pod-volumes.ts';
import { unable } from './unable.ts';

/** A node may have to fetch the image first. */
const START_TIMEOUT_MS = 300_000;
/** How long the cluster may take to say why a Pod did not start. */
const WARNING_TIMEOUT_MS = 5_000;
/** How long one without GPUs waits for a node that has room: shorter than a start may take, so that it is told why there is none. */
const ROOM_WAIT_MS = 90_000;

export interface PreparedParts {
  readonly shape: Shape;
  readonly runtime: RuntimeName;
  readonly isolation: Isolation;
  readonly capabilities: Capabilities;
  readonly namespace: string;
  /** @see SandboxPod.member */
  readonly member: string | undefined;
  readonly runtimeClass: string | undefined;
  /** Those it has. */
  readonly gpus: PodGpus | undefined;
  /** How long it waits for a node that has them free. */
  readonly gpuWaitMs: number;
  readonly cluster: Cluster;
  /** Undefined where nobody holds Pods to policies. */
  readonly network: PodNetwork | undefined;
  readonly nameservers: readonly string[];
  readonly pullSecret: string | undefined;
  readonly credentials: Credentials;
  /** Names the image of the sandbox, and the one with the agent. */
  readonly images: (signal: AbortSignal) => Promise<{ readonly image: string; readonly agentImage: string }>;
  /** @see SandboxPod.certificates */
  readonly certificates: (policy: NetworkPolicy) => CertificateFile | undefined;
  readonly agent: PodAgent;
  readonly files: PodFiles;
  readonly volumes: PodVolumes;
  readonly register: (instance: PodInstance) => void;
  readonly onDestroyed: () => void;
  /** Has those go that wait for somebody: the cluster has no room for one that somebody has. */
  readonly makeRoom: () => void;
  /** Called when it was bound, and when nothing of it is left. */
  readonly onOver: () => void;
}

export class PreparedPod implements Prepared {
  readonly id: InstanceId;
  readonly runtime: RuntimeName;
  readonly died: Promise<void>;
  readonly #parts: PreparedParts;
  readonly #name: string;
  readonly #link: Link;
  readonly #preparation: Preparation;
  readonly #death = Promise.withResolvers<void>();
  #made: { readonly owner: string; readonly image: string; readonly agentImage: string } | undefined;
  /** Of its Pod, once there is one. */
  #address: string | undefined;
  #isWaiting = true;
  #unfollow: () => void = () => {};

  constructor(parts: PreparedParts) {
    const { shape, runtime, credentials, onOver } = parts;
    this.#parts = parts;
    this.id = shape.id;
    this.runtime = runtime;
    this.died = this.#death.promise;
    this.#name = podName(credentials.serverId, shape.id);
    this.#link = new Link(this.#name, credentials.client);
    this.#preparation = new Preparation(shape.id, () => {
      this.#unfollow();
      onOver();
    });
  }

  prepare(signal: AbortSignal): Promise<void> {
    return this.#attempt(signal, async (either) => {
      const { shape, cluster, credentials, namespace, member, images } = this.#parts;
      const named = await images(either);
      const secret = secretOf(
        { id: this.id, serverId: credentials.serverId, namespace, member },
        await credentials.forLink(this.#name),
      );
      either.throwIfAborted();
      this.#preparation.undo.add('secret', () => cluster.removeSecret(this.#name));
      this.#made = { owner: await cluster.createSecret(secret), ...named };
      if (!shape.expects) return;
      refuseWhatCannotBe({ ...shape.expects, mounts: [] }, this.#parts.network);
      await this.#start(shape.expects, [], either);
      this.#unfollow = cluster.follow(this.#name, (pod) => {
        if (this.#isWaiting && standingOf(pod).kind === 'over') this.#death.resolve();
      });
      // Sooner than the cluster tells of a lost node: else it would be given to somebody.
      this.#link.whenLost(() => {
        if (this.#isWaiting) this.#death.resolve();
      });
    });
  }

  async bind(tenure: Tenure, signal: AbortSignal): Promise<Instance> {
    this.#preparation.claim();
    this.#isWaiting = false;
    return this.#attempt(signal, async (either) => {
      const { shape, capabilities, cluster, network, volumes, register } = this.#parts;
      const late = shape.expects && lateParts(shape.expects, tenure, capabilities, this.runtime);
      refuseWhatCannotBe(tenure, network);
      const its = volumesOf(tenure.mounts);
      const address = this.#address ?? (await this.#start(tenure, its, either));
      this.#preparation.undo.add('volumes', () => volumes.forget(this.id));
      await this.#whileUp(either, (signal) =>
        volumes.fill(this.id, its, (dialling) => this.#link.dial(address, dialling), signal),
      );
      const owner = this.#made?.owner ?? '';
      const { devices, deviceEnvironment } = await this.#devices(address, either);
      if (late?.has('network')) await network?.change(this.#networked(address), tenure.network);
      const marks = tenure.marks && marksFor(tenure.marks);
      // A restart finds out by it that the Pod is somebody's.
      const labels = await cluster.markPod(this.#name, {
        labels: { [BOUND_LABEL]: 'true', ...marks?.labels },
        annotations: { ...(devices.length > 0 && deviceMarks(deviceEnvironment)), ...marks?.annotations },
      });
      either.throwIfAborted();
      const instance = new PodInstance({
        ...this.#parts,
        ...{ id: this.id, name: this.#name, address, owner, devices, deviceEnvironment },
        layers: shape.layers,
        labels,
        volumes: its,
        podVolumes: volumes,
        policy: tenure.network,
        link: this.#link,
      });
      register(instance);
      this.#preparation.handOver();
      return instance;
    });
  }

  /** Nobody is to have it any more, if nobody has it: its room is needed. */
  yieldRoom(): void {
    if (this.#isWaiting && this.#parts.shape.expects) this.#death.resolve();
  }

  destroy(): Promise<void> {
    this.#isWaiting = false;
    return this.#preparation.leave(() => this.#preparation.takeBack());
  }

  detach(): void {
    this.#isWaiting = false;
    this.#unfollow();
    this.#link.close();
  }

  #attempt<T>(signal: AbortSignal, work: (either: AbortSignal) => Promise<T>): Promise<T> {
    return this.#preparation.attempt(signal, work, () => {}); // `destroy` is told of what is left
  }

  /** Resolves with its address once its agent has called. */
  async #start(
    { hostname, limits, network: policy, onWait }: Expected & Pick<Tenure, 'onWait'>,
    volumes: readonly PodVolume[],
    signal: AbortSignal,
  ): Promise<string> {
    const { shape, cluster, credentials, namespace, runtimeClass, makeRoom, network } = this.#parts;
    const { nameservers, pullSecret, member, runtime, gpus } = this.#parts;
    if (!this.#made) throw ended(this.id);
    const { serverId } = credentials;
    this.#preparation.undo.add('network policy', () => network?.forget(this));
    const gateway = await network?.provide({ id: this.id, owner: this.#made.owner }, policy);
    const pod = podOf({
      ...this.#made,
      ...{ id: this.id, gateway, certificates: this.#parts.certificates(policy) },
      layers: shape.layers,
      volumes,
      ...{ serverId, member, namespace, runtime, runtimeClass, hostname, limits, nameservers, pullSecret },
      gpus,
      network: network && policy,
    });
    this.#preparation.undo.add('pod', () => cluster.removePod(this.#name));
    this.#preparation.undo.add('link', () => this.#link.close());
    await cluster.createPod(pod);
    let hindrance: string | undefined;
    let isLate = false;
    const addressed = Promise.withResolvers<string>();
    const over = new AbortController();
    const lackRoom = () => {
      if (!this.#isWaiting) makeRoom();
      else over.abort(new SkerryError('resource-exhausted', 'The cluster has no room for Pods that wait.'));
    };
    const waitMs = gpus ? this.#parts.gpuWaitMs : ROOM_WAIT_MS;
    const placement = new Placement(waitMs, (why) =>
      over.abort(new SkerryError('resource-exhausted', noNode(gpus, why))),
    );
    const unfollow = cluster.follow(this.#name, (now) => {
      const standing = standingOf(now);
      if (standing.kind === 'over') over.abort(didNotStart(standing.exit));
      else {
        hindrance = standing.hindrance;
        placement.look(standing);
        if (standing.lacksRoom) onWait?.();
        // Those that wait have no GPUs to give.
        if (gpus ? isCrowded(standing) : standing.lacksRoom) lackRoom();
        if (standing.address !== undefined) addressed.resolve(standing.address);
      }
    });
    try {
      const either = AbortSignal.any([signal, over.signal]);
      const greeted = this.#meet(addressed.promise, either);
      const address = await withDeadline(greeted, START_TIMEOUT_MS, either);
      if (address !== undefined) {
        if (network) await unlessAborted(network.admit(this.#networked(address), policy, gateway), either);
        this.#address = address;
        return address;
      }
      isLate = true;
      over.abort(new SkerryError('unavailable', NOT_IN_TIME));
      throw over.signal.reason;
    } catch (error) {
      // Who gave it up for lack of time does not know what took it.
      isLate ||= signal.reason?.code === 'unavailable';
      const why = isLate && (hindrance ?? (await this.#warning()));
      throw why ? new SkerryError('unavailable', `The sandbox's Pod did not start in time. ${why}.`) : error;
    } finally {
      unfollow();
      placement.end();
    }
  }

  #networked(address: string) {
    const { agent } = this.#parts;
    return networked({ id: this.id, owner: this.#made?.owner ?? '', address, agent, link: this.#link });
  }

  /** Which it has, and what its node said of them. */
  async #devices(address: string, signal: AbortSignal) {
    const { gpus, agent } = this.#parts;
    if (!gpus) return { devices: [], deviceEnvironment: {} };
    const given = await agent.environment((dialling) => this.#link.dial(address, dialling), signal);
    return { devices: namesOf(gpus), deviceEnvironment: deviceVariables(given) };
  }

  /** @throws also why its Pod is over, as soon as it is */
  async #whileUp(signal: AbortSignal, work: (either: AbortSignal) => Promise<void>): Promise<void> {
    const over = new AbortController();
    const unfollow = this.#parts.cluster.follow(this.#name, (pod) => {
      const standing = standingOf(pod);
      if (standing.kind === 'over') over.abort(didNotStart(standing.exit));
    });
    try {
      await work(AbortSignal.any([signal, over.signal]));
    } finally {
      unfollow();
    }
  }

  #warning(): Promise<string | undefined> {
    return withDeadline(this.#parts.cluster.warningOf(this.#name), WARNING_TIMEOUT_MS);
  }

  async #meet(addressed: Promise<string>, signal: AbortSignal): Promise<string> {
    const address = await addressed;
    await this.#link.awaitAgent(address, signal);
    return address;
  }
}

function didNotStart(exit: InstanceExit): SkerryError {
  const why = exit.reason === 'crashed' ? exit.message : 'It ran out of memory.';
  return new SkerryError('unavailable', `The sandbox did not start. ${why}`);
}

const NOT_IN_TIME = `The sandbox's Pod did not start within ${START_TIMEOUT_MS / 1000} s.`;

const noNode = (gpus: PodGpus | undefined, why: string): string =>
  `No node of the cluster has ${gpus ? `${inWords(gpus)} free` : 'room for the sandbox'}. ${why}.`;

/** @throws SkerryError `unimplemented`; `invalid-argument` for what could be nowhere */
function refuseWhatCannotBe(
  { mounts, buckets, network }: Pick<Tenure, 'mounts' | 'buckets' | 'network'>,
  enforced: PodNetwork | undefined,
): void {
  for (const { target } of mounts) checkMountTarget(target);
  volumesOf(mounts);
  if (buckets?.length) throw unable('have buckets mounted');
  checkPolicy(network);
  // What keeps Pods in is the cluster's, and not every cluster enforces it: a promise that cannot be held is not made.
  if (!enforced && network.kind !== 'open')
    throw unable('have a network policy of its own here: see --network-policies (docs/kubernetes.md)');
  requireEnforceable(network);
}
