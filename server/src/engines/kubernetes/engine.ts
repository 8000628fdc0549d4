/** Sandboxes as Pods of a Kubernetes cluster: docs/kubernetes.md, decision 0046. */
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1Pod, V1Secret } from '@kubernetes/client-node';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceId, MemberId } from '../../ids.ts';
import { Limiter } from '../../platform/limiter.ts';
import type { MachineRoom } from '../../platform/machine-room.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type {
  Adopted,
  Capabilities,
  Device,
  Engine,
  EngineCheck,
  Instance,
  IsLeft,
  Isolation,
  Prepared,
  RuntimeChoice,
  RuntimeName,
  Shape,
} from '../engine.ts';
import type { ContentPlaces } from '../references.ts';
import { Cluster } from './cluster.ts';
import { Credentials } from './credentials.ts';
import { EngineFiles } from './engine-files.ts';
import { gatewayName, isGateway } from './gateway-spec.ts';
import { type GpuKind, gpuKinds, type PodGpus } from './gpu-kinds.ts';
import type { ImageSource } from './image-source.ts';
import { PodInstance, type PodParts } from './instance.ts';
import { Link } from './link.ts';
import type { PodAgent } from './pod-agent.ts';
import { PodFiles } from './pod-files.ts';
import { networked, PodNetwork } from './pod-network.ts';
import {
  BOUND_LABEL,
  type CertificateFile,
  deviceEnvironmentOf,
  devicesOf,
  gatewayOf,
  instanceOf,
  layersOf,
  memberOf,
  podName,
  podVolumesOf,
  policyOf,
  pullSecretName,
  pullSecretOf,
  runtimeOf,
} from './pod-spec.ts';
import { standingOf } from './pod-status.ts';
import { gatherTrust, type PodTrust, type TrustOptions } from './pod-trust.ts';
import { PodVolumes } from './pod-volumes.ts';
import { PreparedPod } from './prepared-pod.ts';
import { EVENT_RIGHT, POLICY_RIGHT, RIGHTS } from './rights.ts';
import { prepareSkeleton, SKELETON_VERSION } from './skeleton.ts';
import { unable } from './unable.ts';

export interface KubernetesEngineOptions extends TrustOptions {
  /** @see ClusterOptions.kubeconfig */
  readonly kubeconfig: string;
  /** Must be there. */
  readonly namespace: string;
  /** A RuntimeClass of gVisor; undefined: what the nodes run Pods with that name none, which is taken for runc. */
  readonly runtimeClass: string | undefined;
  /** A RuntimeClass of runc, for Pods with GPUs; undefined: that of all. */
  readonly gpuRuntimeClass: string | undefined;
  /** @see gpuKinds */
  readonly gpuTypes: readonly string[];
  /** How long a sandbox waits for a node with free GPUs. */
  readonly gpuWaitMs: number;
  /** Whether the cluster's network holds Pods to NetworkPolicies. */
  readonly networkPolicies: 'enforced' | 'ignored';
  /** Who resolves names for Pods; none: whom their nodes ask. */
  readonly nameservers: readonly string[];
  readonly dataDir: string;
  /** Where several servers share data directory and namespace: the one that this is, which none was before. Undefined where there is one, and of the one that leads. */
  readonly member: MemberId | undefined;
  readonly content: Pick<ContentPlaces, 'layer' | 'newLayer' | 'mount'>;
  readonly images: ImageSource;
  readonly agent: PodAgent;
  /** What snapshots and working trees of volumes are written on. */
  readonly room: MachineRoom;
  /** @see ClusterOptions.answerTimeoutMs */
  readonly answerTimeoutMs?: number | undefined;
  /** @see ClusterOptions.removalTimeoutMs */
  readonly removalTimeoutMs?: number | undefined;
  readonly agentBinaryPath: string;
  readonly egressBinaryPath: string;
  readonly podLinkBinaryPath: string;
  readonly logger: Logger;
}

interface Opened {
  readonly cluster: Cluster;
  readonly network: PodNetwork | undefined;
  readonly credentials: Credentials;
  /** The Secret that nodes fetch images with; undefined where the registry takes no password. */
  readonly pullSecret: string | undefined;
  /** Digest of the programs that are sent to Pods. */
  readonly programs: string;
  readonly trust: PodTrust;
}

const capabilities: Capabilities = {
  bindsLate: new Set(),
  joins: false,
  commit: true,
  networkPolicy: false,
  tenureMounts: false,
  copiedVolumes: true,
  mounts: false,
  commitDirectory: true,
  devices: true,
  disk: false,
  buckets: false,
  checkpoints: false,
};
const withPolicies: Capabilities = { ...capabilities, bindsLate: new Set(['network']), networkPolicy: true };

/** Calls of a cluster. */
const CLAIMS_AT_ONCE = 16;
/** Of one Pod: a take-over is not to fail for one answer of very many. */
const CLAIM_TRIES = 3;

export class KubernetesEngine implements Engine {
  readonly name = 'kubernetes';
  readonly keptDisks = undefined;
  readonly #options: KubernetesEngineOptions;
  readonly #places: EngineFiles;
  readonly #files: PodFiles;
  readonly #volumes: PodVolumes;
  readonly #prepared = new Map<InstanceId, PreparedPod>();
  readonly #instances = new Map<InstanceId, PodInstance>();
  /** Those that another one of several servers took over from this one. */
  readonly #released = new Set<InstanceId>();
  readonly #gpus: ReadonlyMap<string, GpuKind>;
  #opened: Opened | undefined;

  /** @throws SkerryError `invalid-argument` as `gpuKinds` */
  constructor(options: KubernetesEngineOptions) {
    this.#options = options;
    this.#gpus = new Map(gpuKinds(options.gpuTypes).map((kind) => [kind.type, kind]));
    const { agent, content, room, dataDir, member } = options;
    this.#places = new EngineFiles(dataDir, member);
    this.#files = new PodFiles({ agent, content, room, skeletonDir: this.#places.skeleton });
    this.#volumes = new PodVolumes({ agent, content, room, directory: this.#places.volumes });
  }

  async check(): Promise<readonly EngineCheck[]> {
    const { kubeconfig, namespace, networkPolicies, logger } = this.#options;
    const name = 'Kubernetes';
    try {
      const cluster = new Cluster({ kubeconfig, namespace, serverId: 'none', member: undefined, logger });
      const version = await cluster.version();
      const [missing, unheard] = await Promise.all([
        cluster.missing(networkPolicies === 'enforced' ? [...RIGHTS, POLICY_RIGHT] : RIGHTS),
        cluster.missing([EVENT_RIGHT]),
      ]);
      const hearsNodes = unheard.length === 0;
      const remedy =
        'Give the user of the kubeconfig the Role of deploy/kubernetes/access.yaml in that namespace.';
      return [
        { name, ok: true, required: true, found: version, remedy: '' },
        {
          name: 'rights',
          ok: missing.length === 0,
          required: true,
          found: `${missing.length === 0 ? 'all that it takes' : `cannot ${missing.join(', ')}`}, in the namespace ${namespace}`,
          remedy,
        },
        {
          name: 'events',
          ok: hearsNodes,
          required: false,
          found: `${hearsNodes ? 'it is' : 'cannot list events, so that it is not'} told why a node does not start a sandbox`,
          remedy,
        },
      ];
    } catch (error) {
      const found = error instanceof Error ? error.message : String(error);
      const remedy = 'Name a kubeconfig file of a cluster that can be reached: --kubeconfig FILE';
      return [{ name, ok: false, required: true, found, remedy }];
    }
  }

  async open(): Promise<void> {
    await prepareSkeleton(this.#places.skeleton);
    const { programs, trust } = await this.#gatherPrograms();
    const parts = await this.#connect();
    await parts.cluster.open();
    const pullSecret = await this.#handOnPassword(parts);
    const network = this.#networkOf(parts, pullSecret, trust);
    await network?.open();
    this.#opened = { ...parts, network, programs, pullSecret, trust };
  }

  runtimeFor(choice: RuntimeChoice): RuntimeName {
    const { runtimeClass } = this.#options;
    const own = runtimeClass === undefined ? 'runc' : 'gvisor';
    if (choice === 'auto' || choice === own) return own;
    const how =
      own === 'runc' ? 'names no RuntimeClass of gVisor (--runtime-class)' : `runs all under ${runtimeClass}`;
    throw new SkerryError('unavailable', `There is no ${choice} here: the server ${how}.`);
  }

  capabilities(): Capabilities {
    return this.#options.networkPolicies === 'enforced' ? withPolicies : capabilities;
  }

  isolationUnder(runtime: RuntimeName): Isolation {
    return runtime === 'gvisor' ? 'gvisor' : 'runc-shared-users';
  }

  async gpus(): Promise<readonly Device[]> {
    const runtimes = new Set([this.#runtimeWithGpus]);
    const foundWithinMs = this.#options.gpuWaitMs;
    return [...this.#gpus.keys()].map((name) => ({ name, types: [name], runtimes, foundWithinMs }));
  }

  async requireRestorable(): Promise<void> {
    throw unable('go on from a memory snapshot');
  }

  async prepare(shape: Shape, signal: AbortSignal): Promise<Prepared> {
    signal.throwIfAborted();
    const { cluster, network, credentials, pullSecret } = this.#parts;
    if (this.#instances.has(shape.id) || this.#prepared.has(shape.id)) {
      throw new SkerryError('already-exists', `The instance ${shape.id} exists already.`);
    }
    if (shape.joins !== undefined) throw unable('have sidecars');
    if (shape.from !== undefined) throw unable('go on from a memory snapshot');
    if (shape.disk) throw unable('have a disk of a certain size');
    const gpus = this.#gpusOf(shape);
    const runtime = gpus ? this.#runtimeWithGpus : this.runtimeFor(shape.runtime);
    const { namespace, member, nameservers, agent, gpuWaitMs } = this.#options;
    const { runtimeClass, gpuRuntimeClass = runtimeClass } = this.#options;
    const prepared = new PreparedPod({
      ...{ shape, runtime, namespace, member, nameservers, cluster, network, credentials },
      ...{ gpus, gpuWaitMs, runtimeClass: gpus ? gpuRuntimeClass : runtimeClass },
      ...{ pullSecret, agent, files: this.#files, volumes: this.#volumes },
      capabilities: this.capabilities(),
      isolation: this.isolationUnder(runtime),
      images: (either) => this.#images(shape, either),
      certificates: ({ headers }) => this.#certificates(headers !== undefined),
      register: (instance) => this.#instances.set(shape.id, instance),
      onDestroyed: () => this.#instances.delete(shape.id),
      makeRoom: () => {
        for (const each of this.#prepared.values()) each.yieldRoom();
      },
      onOver: () => this.#prepared.delete(shape.id),
    });
    this.#prepared.set(shape.id, prepared);
    await prepared.prepare(signal);
    return prepared;
  }

  async adopt(ids: ReadonlySet<InstanceId>, of: IsLeft = () => true): Promise<Adopted> {
    const { cluster, network } = this.#parts;
    // Before it is looked what there is: what is remembered then of one that is not there later is of no use, whoever may be making others meanwhile.
    const remembered = await this.#volumes.remembered();
    const { pods, secrets } = await cluster.all();
    // A Pod says who has it now, a Secret who made it.
    const found = new Map([...secrets, ...pods].map((object) => [instanceOf(object), memberOf(object)]));
    const podById = new Map(pods.map((pod) => [instanceOf(pod), pod]));
    const instances = new Map<InstanceId, Instance>();
    const left = new Map<InstanceId, readonly string[]>();
    const orphans: InstanceId[] = [];
    const kept = new Map<InstanceId, V1Pod>();
    for (const [id, member] of found) {
      if (id === undefined || this.#isMine(id)) continue;
      const pod = podById.get(id);
      if (pod && ids.has(id) && addressOf(pod) !== undefined) kept.set(id, pod);
      else if (ids.has(id) || of(member)) orphans.push(id);
    }
    const adopted: Parameters<PodNetwork['adopt']>[0][number][] = [];
    for (const [id, pod] of await this.#claim(kept)) {
      if (this.#isMine(id)) continue; // by another call of this
      const address = pod && addressOf(pod);
      if (!pod || address === undefined) {
        orphans.push(id); // since a moment ago
        continue;
      }
      const parts = this.#partsOf(id, pod, address);
      instances.set(id, this.#adopt(parts));
      adopted.push({ pod: networked(parts), policy: parts.policy, gateway: gatewayOf(pod) });
    }
    network?.adopt(adopted);
    await this.#removeGateways(pods, of);
    await Promise.all(orphans.map((id) => this.#remove(id).catch(() => left.set(id, []))));
    for (const id of remembered) if (!found.has(id)) await this.#volumes.forget(id);
    return { instances, left };
  }

  #isMine(id: InstanceId): boolean {
    return this.#instances.has(id) || this.#prepared.has(id);
  }

  /** Has this one of several servers be told of these. @returns them as they are then, undefined for one that is gone. @throws SkerryError `unavailable` */
  async #claim(
    pods: ReadonlyMap<InstanceId, V1Pod>,
  ): Promise<readonly (readonly [InstanceId, V1Pod | undefined])[]> {
    const { cluster, credentials } = this.#parts;
    if (this.#options.member === undefined) return [...pods];
    const limiter = new Limiter(CLAIMS_AT_ONCE);
    const claim = async (id: InstanceId) => {
      const pod = await limiter.run(() => cluster.claimPod(podName(credentials.serverId, id), CLAIM_TRIES));
      return [id, pod] as const;
    };
    return Promise.all([...pods.keys()].map(claim));
  }

  /** Those of servers that are lost: what asked them for names is told of this one's. */
  async #removeGateways(pods: readonly V1Pod[], of: IsLeft): Promise<void> {
    const { cluster, credentials } = this.#parts;
    const own = gatewayName({ serverId: credentials.serverId, member: this.#options.member });
    for (const pod of pods.filter(isGateway)) {
      const name = pod.metadata?.name ?? '';
      if (name === own || !of(memberOf(pod))) continue;
      // Whoever starts next tries again.
      await cluster.removePod(name).then(
        () => cluster.removeSecret(name),
        (err: unknown) => this.#options.logger.warn({ err, name }, 'kubernetes.gateway-left'),
      );
    }
  }

  #partsOf(id: InstanceId, pod: V1Pod, address: string): PodParts {
    const { cluster, network, credentials } = this.#parts;
    const runtime = runtimeOf(pod);
    const name = podName(credentials.serverId, id);
    return {
      ...{ id, runtime, name, cluster, network, address },
      owner: pod.metadata?.ownerReferences?.[0]?.uid ?? '',
      policy: policyOf(pod) ?? { kind: 'open' },
      isolation: this.isolationUnder(runtime),
      link: new Link(name, credentials.client),
      layers: layersOf(pod),
      labels: pod.metadata?.labels ?? {},
      devices: devicesOf(pod),
      deviceEnvironment: deviceEnvironmentOf(pod),
      agent: this.#options.agent,
      files: this.#files,
      volumes: podVolumesOf(pod),
      podVolumes: this.#volumes,
      onDestroyed: () => this.#instances.delete(id),
    };
  }

  #adopt(parts: PodParts): Instance {
    const instance = new PodInstance(parts);
    this.#instances.set(parts.id, instance);
    this.#released.delete(parts.id);
    return instance;
  }

  async destroy(id: InstanceId): Promise<void> {
    if (this.#released.has(id)) return;
    const prepared = this.#prepared.get(id);
    await prepared?.destroy();
    const instance = this.#instances.get(id); // also when it was bound in the last moment
    if (instance) await instance.destroy();
    else if (!prepared) await this.#remove(id);
  }

  async close(): Promise<void> {
    for (const each of [...this.#instances.values(), ...this.#prepared.values()]) each.detach();
    this.#instances.clear();
    this.#prepared.clear();
    this.#options.images.close();
    await this.#opened?.network?.close();
    await this.#opened?.cluster.close();
    this.#opened = undefined;
  }

  async remove(): Promise<void> {
    const parts = await this.#connect();
    const { cluster, credentials } = parts;
    await cluster.open(); // it tells when a Pod is gone
    try {
      await this.#networkOf(parts, undefined, undefined)?.remove();
      await cluster.removeSecret(pullSecretName(credentials.serverId));
    } finally {
      await cluster.close();
    }
  }

  /** Names of all objects of this server's sandboxes, as lines to compare. */
  async traces(): Promise<string[]> {
    const { pods, secrets } = await this.#parts.cluster.all();
    const named = (kind: string, objects: readonly (V1Pod | V1Secret)[]) =>
      objects.filter((object) => !isGateway(object)).map(({ metadata }) => `${kind} ${metadata?.name}`);
    return [...named('pod', pods), ...named('secret', secrets)].sort();
  }

  /** At each start: the password may be another. What others of several servers have is replaced, at no moment without. */
  async #handOnPassword({ cluster, credentials }: Pick<Opened, 'cluster' | 'credentials'>) {
    const password = await this.#options.images.credentials();
    if (password === undefined) return undefined;
    const { serverId } = credentials;
    const secret = pullSecretOf({ serverId, namespace: this.#options.namespace }, password);
    await cluster.putSecret(secret);
    return pullSecretName(serverId);
  }

  async #connect(): Promise<Pick<Opened, 'cluster' | 'credentials'>> {
    const { kubeconfig, namespace, member, logger } = this.#options;
    const { answerTimeoutMs, removalTimeoutMs } = this.#options;
    const credentials = await Credentials.open(this.#places.identity);
    const { serverId } = credentials;
    const cluster = new Cluster({
      ...{ kubeconfig, namespace, serverId, member, answerTimeoutMs, removalTimeoutMs, logger },
      onClaimed: (pod) => this.#release(instanceOf(pod)),
    });
    return { cluster, credentials };
  }

  #networkOf(
    { cluster, credentials }: Pick<Opened, 'cluster' | 'credentials'>,
    pullSecret: string | undefined,
    trust: PodTrust | undefined,
  ): PodNetwork | undefined {
    const { namespace, member, networkPolicies, nameservers, secretHeaders, logger } = this.#options;
    if (networkPolicies !== 'enforced') return undefined;
    const { serverId } = credentials;
    return new PodNetwork({
      ...{ cluster, credentials, serverId, namespace, member, pullSecret, nameservers, logger },
      image: (signal) => this.#agentImage(signal),
      headers: secretHeaders && trust?.ofHeaders && { open: secretHeaders.open, trust: trust.ofHeaders },
    });
  }

  #certificates(hasHeaders: boolean): CertificateFile | undefined {
    const file = hasHeaders ? 'headers-ca-certificates.crt' : 'ca-certificates.crt';
    return this.#parts.trust.files[file] === undefined ? undefined : file;
  }

  get #runtimeWithGpus(): RuntimeName {
    return this.#options.gpuRuntimeClass === undefined ? this.runtimeFor('auto') : 'runc';
  }

  /** @throws SkerryError `unavailable` */
  #gpusOf({ devices = [], runtime }: Shape): PodGpus | undefined {
    const [name] = devices;
    if (name === undefined) return undefined;
    const kind = this.#gpus.get(name);
    const other = devices.find((device) => device !== name);
    if (!kind || other !== undefined) {
      const said = kind ? `${other} beside ${name}` : `The device ${name}`;
      throw new SkerryError('unavailable', `${said} is not to be had on Kubernetes.`);
    }
    const under = this.#runtimeWithGpus;
    if (runtime === 'auto' || runtime === under) return { kind, count: devices.length };
    throw new SkerryError('unavailable', `GPUs are handed on under ${under} here, and not under ${runtime}.`);
  }

  get #parts(): Opened {
    if (!this.#opened) throw new SkerryError('unavailable', 'The server is shutting down.');
    return this.#opened;
  }

  async #remove(id: InstanceId): Promise<void> {
    const { cluster, credentials } = this.#parts;
    const name = podName(credentials.serverId, id);
    await cluster.removePod(name);
    await cluster.removeSecret(name);
    await this.#volumes.forget(id);
  }

  #release(id: InstanceId | undefined): void {
    const instance = id && this.#instances.get(id);
    if (!instance) return;
    this.#released.add(instance.id);
    this.#instances.delete(instance.id);
    instance.release();
    this.#options.logger.warn({ instance: instance.id }, 'kubernetes.taken-over-by-another');
  }

  /** What our image holds. @returns its digest as well */
  async #gatherPrograms(): Promise<Pick<Opened, 'programs' | 'trust'>> {
    const { agentBinaryPath, egressBinaryPath, podLinkBinaryPath } = this.#options;
    const named = {
      'skerry-agent': agentBinaryPath,
      'skerry-egress': egressBinaryPath,
      'skerry-pod-link': podLinkBinaryPath,
    };
    const programs = await Promise.all(Object.values(named).map((path) => readFile(path)));
    const directory = this.#places.programs;
    await rm(directory, { recursive: true, force: true });
    await mkdir(directory, { recursive: true });
    for (const [name, path] of Object.entries(named)) await copyFile(path, join(directory, name));
    const trust = await gatherTrust(directory, this.#options);
    return { programs: digest([...programs, ...Object.entries(trust.files).flat()]), trust };
  }

  #agentImage(signal: AbortSignal): Promise<string> {
    const { programs } = this.#parts;
    return this.#options.images.provide(`programs-${programs}`, [this.#places.programs], signal);
  }

  async #images({ layers }: Shape, signal: AbortSignal) {
    const { images, content } = this.#options;
    const agentImage = await this.#agentImage(signal);
    const places = [this.#places.skeleton, ...layers.map((layer) => content.layer(layer))];
    const image = await images.provide(`layers-${digest([SKELETON_VERSION, ...layers])}`, places, signal);
    return { image, agentImage };
  }
}

/** Where the agent of one is that is up and somebody's; undefined for others. */
function addressOf(pod: V1Pod): string | undefined {
  const standing = standingOf(pod);
  const isBound = pod.metadata?.labels?.[BOUND_LABEL] === 'true';
  return isBound && standing.kind === 'up' ? standing.address : undefined;
}

function digest(parts: readonly (string | Buffer)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex').slice(0, 40);
}
