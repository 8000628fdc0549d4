/**
 * An instance of the OCI engine on its way to somebody. Everything acquired goes on a cleanup stack at once, so that a failure, an abort or a destroy at any
 * moment leaves nothing; once it is bound, `instance.ts` has it.
 */
import { existsSync } from 'node:fs';
import { chown, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { InstanceId } from '../../ids.ts';
import type { Lease, Network, SlotUsers } from '../../network/network.ts';
import { checkPolicy, isPlainlyOpen, type NetworkPolicy } from '../../network/policy.ts';
import type { FaultPoint } from '../../platform/fault-points.ts';
import { Phases } from '../../platform/phases.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { InstanceBucket } from '../bucket.ts';
import type { Capabilities, Instance, Prepared, RuntimeName, Shape, Tenure } from '../engine.ts';
import { lateParts } from '../late-binding.ts';
import { checkMountTarget } from '../mount-target.ts';
import { ended, Preparation } from '../preparation.ts';
import type { ContentPlaces } from '../references.ts';
import { AgentListener } from './agent-listener.ts';
import { bucketUser, haltBuckets, mountBuckets } from './buckets.ts';
import { type Bundle, bundleText, createBundle, limitsOf, pathsOf } from './bundle.ts';
import type { Cgroups } from './cgroups.ts';
import { CheckpointFiles } from './checkpoints.ts';
import { watchForDeath } from './death-watch.ts';
import type { Disks } from './disks.ts';
import { writeEtcFiles } from './etc-files.ts';
import { awaitAgent } from './first-contact.ts';
import { type DeviceEdits, makeMountPoints } from './gpus/device-edits.ts';
import { ownDeviceNodes } from './gpus/device-nodes.ts';
import type { OciInstance } from './instance.ts';
import type { InstanceLayout, Layout } from './layout.ts';
import { outermostFirst, type PlacedMount, placeMounts } from './mounts.ts';
import { copyTree, mountRootfs } from './overlay.ts';
import type { OwnLimits } from './own-limits.ts';
import { isAlive, type ProcessIdentity } from './process-identity.ts';
import { BUCKET_POLICY, type InstanceRecord, writeRecord } from './record.ts';
import { haltInstance, removeInstanceFiles } from './residue.ts';
import type { OciRuntime } from './runtime.ts';
import { settleAll } from './settle-all.ts';
import type { MappedTrees } from './user-ids.ts';

export interface PreparedParts {
  readonly shape: Shape;
  readonly layout: Layout;
  readonly content: ContentPlaces;
  readonly cgroups: Cgroups;
  readonly network: Network;
  readonly disks: Disks;
  readonly runtime: OciRuntime;
  readonly capabilities: Capabilities;
  /** gVisor as it is on the machine, for what may be left. */
  readonly gvisor: OciRuntime | undefined;
  /** The one it joins. */
  readonly owner: OciInstance | undefined;
  readonly caBundle: string | undefined;
  /** The same with the authority of secret headers, made where it is needed. */
  readonly headerBundle: () => Promise<string>;
  /** What the devices of its shape change. */
  readonly devices: DeviceEdits | undefined;
  /** What the memory may be encrypted with that it goes on from. */
  readonly memoryKey: Uint8Array | undefined;
  /** SHA-256 of its program. */
  readonly agent: () => Promise<string>;
  readonly ownLimits: OwnLimits;
  readonly treesBinary: string;
  readonly mappedTrees: MappedTrees;
  readonly logger: Logger;
  readonly faultPoint: FaultPoint;
  /** Makes it an instance. */
  readonly register: (listener: AgentListener, record: InstanceRecord, layers: readonly string[]) => Instance;
  /** Called when it was bound, and when nothing of it is left. */
  readonly onOver: () => void;
}

export class OciPrepared implements Prepared {
  readonly id: InstanceId;
  readonly runtime: RuntimeName;
  readonly #parts: PreparedParts;
  readonly #places: InstanceLayout;
  readonly #layers: readonly string[];
  readonly #listener: AgentListener;
  readonly #preparation: Preparation;
  #lease: Lease | undefined;
  #policy: NetworkPolicy;
  #bucketLease: Lease | undefined;
  /** Those of its slot, where sandboxes have any. */
  #users: SlotUsers | undefined;
  /** What its devices change. */
  #devices: DeviceEdits | undefined;
  /** Its first process, while it waits. */
  #init: ProcessIdentity | undefined;
  readonly #died = Promise.withResolvers<void>();
  #isWaiting = true;
  #isUnderWay = false;

  constructor(parts: PreparedParts) {
    const { shape, layout, content, runtime, devices } = parts;
    this.#parts = parts;
    this.#devices = devices;
    this.#preparation = new Preparation(shape.id, parts.onOver);
    this.id = shape.id;
    this.runtime = runtime.name;
    this.#places = layout.of(shape.id);
    this.#layers = shape.layers.map((layer) => content.layer(layer));
    this.#listener = new AgentListener(this.#places.socket);
    this.#policy = shape.expects?.network ?? { kind: 'open' };
  }

  /** The instance whose network it shares. */
  get joins(): InstanceId | undefined {
    return this.#parts.owner?.id;
  }

  get died(): Promise<void> {
    return this.#died.promise;
  }

  get firstId(): number | undefined {
    return this.#users?.firstId;
  }

  /** Whether it is being prepared or bound. */
  get isUnderWay(): boolean {
    return this.#isUnderWay;
  }

  /** Makes everything of it that does not depend on whom it is for. Called once, first. */
  prepare(signal: AbortSignal, phases = new Phases()): Promise<void> {
    return this.#attempt('prepared', signal, async (either) => {
      const { layout, cgroups, gvisor, disks, shape, faultPoint } = this.#parts;
      const places = this.#places;
      this.#preparation.undo.add('files', () => removeInstanceFiles(places, disks));
      const { disk } = shape;
      if (disk) await phases.time('disk', () => disks.give(places, disk));
      faultPoint('instance.prepare.after-disk');
      await mkdir(places.dir, { recursive: true, mode: 0o700 });
      await Promise.all([
        mkdir(places.socketDir, { recursive: true, mode: 0o700 }),
        mkdir(places.rootfs, { recursive: true }),
        mkdir(places.upper, { recursive: true, mode: 0o755 }),
        mkdir(places.work, { recursive: true }),
        mkdir(places.etcDir, { recursive: true, mode: 0o755 }),
      ]);
      faultPoint('instance.prepare.after-files');
      this.#preparation.undo.add('processes and mounts', () => haltInstance(layout, cgroups, places, gvisor));
      this.#preparation.undo.add('listener', () => this.#listener.close());
      const mounted = async () => {
        await phases.time('network', () => this.#takeNetwork());
        await phases.time('mount', () => this.#mountRootfs());
      };
      await settleAll([mounted(), this.#listener.listen()]);
      await this.#openToOwnUsers();
      faultPoint('instance.prepare.after-resources');
      if (!shape.expects) return;
      this.#init = await this.#start({ ...shape.expects, mounts: [] }, [], either, phases);
      this.#listener.onLost(() => void this.#watch());
      if (!this.#listener.connected) void this.#watch();
    });
  }

  async bind(tenure: Tenure, signal: AbortSignal, phases = new Phases()): Promise<Instance> {
    this.#preparation.claim();
    this.#isWaiting = false;
    return this.#attempt('bound', signal, async (either) => {
      const { shape, devices, owner, content, register, faultPoint } = this.#parts;
      const own = await this.#onDisk(placeMounts(tenure.mounts, content), either);
      const placed = await this.#mapMounts(own);
      checkPolicy(tenure.network);
      const buckets = await this.#mountBuckets(tenure.buckets ?? [], either);
      const mounts = outermostFirst([...placed, ...buckets]);
      // Nothing of its user's runs before both are done.
      const [init] = await settleAll([
        this.#init ? this.#adjust(this.#init, tenure) : this.#start(tenure, mounts, either, phases),
        phases.time('policy', () => this.#setPolicy(tenure.network)),
      ]);
      const agent = this.runtime === 'gvisor' ? await this.#parts.agent() : undefined;
      const record: InstanceRecord = {
        version: 1,
        runtime: this.runtime,
        init,
        ...(owner ? { joins: owner.id } : { slot: this.#network.slot }),
        addressing: this.#network.addressing,
        policy: tenure.network,
        ...(agent === undefined ? {} : { agent }),
        ...(this.#bucketLease ? { bucketNetwork: slotOf(this.#bucketLease) } : {}),
        ...(this.#users ? { firstId: this.#users.firstId } : {}),
        ...(devices ? { devices: [...(shape.devices ?? [])], deviceEnvironment: { ...devices.env } } : {}),
      };
      await phases.time('record', () => writeRecord(this.#places, record));
      faultPoint('instance.bind.after-record');
      either.throwIfAborted();
      owner?.shareNetwork(); // throws when it ended meanwhile; from the registration on, its destroy takes this one along
      const instance = register(this.#listener, record, this.#layers);
      this.#preparation.handOver();
      return instance;
    });
  }

  /** @throws what keeps something of it on the machine: it is to be called again */
  destroy(): Promise<void> {
    this.#isWaiting = false;
    return this.#preparation.leave(() => this.#preparation.takeBack());
  }

  /** Lets go of what lives in this process. */
  detach(): Promise<void> {
    this.#isWaiting = false;
    return this.#listener.close();
  }

  async #attempt<T>(
    what: string,
    signal: AbortSignal,
    work: (either: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const started = performance.now();
    this.#isUnderWay = true;
    const attempt = this.#preparation.attempt(signal, work, (left) => {
      this.#parts.logger.error({ instance: this.id, err: left }, 'instance.cleanup-failed');
    });
    const result = await attempt.finally(() => {
      this.#isUnderWay = false;
    });
    const ms = performance.now() - started;
    this.#parts.logger.debug({ instance: this.id, runtime: this.runtime, ms }, `instance.${what}`);
    return result;
  }

  get #network(): Lease {
    if (!this.#lease) throw new Error(`${this.id} has no network yet`);
    return this.#lease;
  }

  async #takeNetwork(): Promise<void> {
    const { owner, network } = this.#parts;
    if (owner) {
      this.#lease = network.lease(owner.shareNetwork());
    } else {
      const lease = await network.acquire(this.#policy);
      this.#preparation.undo.add('network', () => network.release(lease.slot));
      this.#lease = lease;
    }
    if (this.runtime === 'runc') this.#users = this.#network.users;
  }

  /** Before anything of its user's runs. Whoever has none waits for nothing. */
  async #mountBuckets(buckets: readonly InstanceBucket[], signal: AbortSignal): Promise<PlacedMount[]> {
    if (buckets.length === 0) return [];
    const { layout, network, cgroups, caBundle, treesBinary, faultPoint } = this.#parts;
    const places = this.#places;
    const users = this.#users;
    for (const { target } of buckets) checkMountTarget(target);
    const lease = await network.acquire(BUCKET_POLICY);
    this.#bucketLease = lease;
    this.#preparation.undo.add('network of buckets', () => network.release(lease.slot));
    await mkdir(places.bucketsDir, { recursive: true, mode: 0o700 });
    this.#preparation.undo.add('buckets', async () => {
      if (existsSync(places.bucketsDir)) await haltBuckets(cgroups, places, Promise.resolve());
    });
    faultPoint('instance.buckets.after-network');
    const user = bucketUser(layout.instance);
    const mounts = await mountBuckets(
      { places, cgroups, caBundle, treesBinary, lease, users, user },
      buckets,
      signal,
    );
    faultPoint('instance.buckets.after-mount');
    return mounts;
  }

  async #setPolicy(policy: NetworkPolicy): Promise<void> {
    const { owner, network } = this.#parts;
    const isSet =
      isDeepStrictEqual(policy, this.#policy) || (isPlainlyOpen(policy) && isPlainlyOpen(this.#policy));
    if (owner || isSet) return;
    await network.setPolicy(this.#network.slot, policy);
  }

  /** What it may write of scratch mounts is a copy on its disk, if it has one. */
  async #onDisk(mounts: readonly PlacedMount[], signal: AbortSignal): Promise<readonly PlacedMount[]> {
    const { shape, disks } = this.#parts;
    if (!shape.disk || mounts.every(({ scratch, readOnly }) => !scratch || readOnly)) return mounts;
    await disks.share(this.#places);
    const { scratchDir } = this.#places;
    await mkdir(scratchDir, { mode: 0o700 });
    return settleAll(
      mounts.map(async (mount, index) => {
        if (!mount.scratch || mount.readOnly) return mount;
        const source = join(scratchDir, String(index));
        await copyTree(mount.source, source, `What is mounted at ${mount.target} does not fit.`, signal);
        return { ...mount, source };
      }),
    );
  }

  async #mountRootfs(): Promise<void> {
    const { layout, mappedTrees } = this.#parts;
    const places = this.#places;
    const devices = this.#devices;
    const users = this.#users;
    const points = devices && (await makeMountPoints(places.devicePoints, devices));
    await settleAll([
      mountRootfs(layout, places, this.#layers, points, users && { users, trees: mappedTrees }),
      this.#makeDevices(),
    ]);
  }

  /** Those that a runtime cannot make: nobody makes any in a user namespace. */
  async #makeDevices(): Promise<void> {
    const users = this.#users;
    if (!users) return;
    const { devDir } = this.#places;
    await this.#parts.mappedTrees.makeDevices(users, devDir);
    if (this.#devices) this.#devices = await ownDeviceNodes(devDir, this.#devices, users.firstId);
  }

  /** What is theirs already belongs to other ids of the machine: only they may enter, and pose as the agent. */
  async #openToOwnUsers(): Promise<void> {
    if (!this.#users) return;
    const { dir, socketDir, socket } = this.#places;
    const { firstId } = this.#users;
    for (const path of [dir, socketDir, socket]) await chown(path, firstId, firstId);
  }

  /** The caller's mounts as its users are to see them. */
  async #mapMounts(placed: readonly PlacedMount[]): Promise<readonly PlacedMount[]> {
    if (!this.#users || this.#init) return placed; // one that runs can be given none
    return this.#parts.mappedTrees.mounts(this.#users, this.#places, placed);
  }

  /** Starts the first process; resolves once its agent has called. */
  async #start(
    tenure: Tenure,
    mounts: readonly PlacedMount[],
    signal: AbortSignal,
    phases: Phases,
  ): Promise<ProcessIdentity> {
    const { runtime, cgroups, shape, disks, faultPoint } = this.#parts;
    const places = this.#places;
    const { address, resolver } = this.#network.inside;
    const from = this.#checkpoint;
    const caBundle =
      tenure.network.headers === undefined ? this.#parts.caBundle : await this.#parts.headerBundle();
    const bundle = this.#bundle(tenure, mounts, caBundle);
    await Promise.all([
      writeFile(join(places.dir, 'config.json'), bundleText(bundle)),
      from ? from.giveEtc(places) : writeEtcFiles(places, { hostname: tenure.hostname, address, resolver }),
    ]);
    faultPoint('instance.start.after-bundle');
    const direct = mounts.some((mount) => mount.direct);
    const options = runtimeOptions(runtime.name, this.#devices !== undefined, direct);
    await using memory = await from?.openMemory(places, this.#parts.memoryKey, signal);
    const needs = pathsOf(bundle);
    const shared = shape.disk ? phases.time('room', () => disks.share(places)) : Promise.resolve();
    if (from) await shared; // what is in its memory goes on at once
    // Of others nothing but the agent runs before both are done.
    await settleAll([
      phases.time('runtime', () => runtime.start(places, needs, signal, options, memory?.directory)),
      shared,
    ]);
    faultPoint('instance.start.after-runtime');
    const listener = this.#listener;
    const started = { places, runtime: runtime.name, listener, cgroups };
    const init = await phases.time('agent', () => awaitAgent(started, signal));
    faultPoint('instance.start.after-agent');
    return init;
  }

  /** While it waits: its last connection closed. Never rejects. */
  async #watch(): Promise<void> {
    const init = this.#init;
    const watched = {
      inDoubt: () => this.#isWaiting && !this.#listener.connected,
      isUp: async () => init === undefined || isAlive(init),
    };
    if (await watchForDeath(watched, this.#parts.logger)) this.#died.resolve();
  }

  /** What it goes on from, if it does. */
  get #checkpoint(): CheckpointFiles | undefined {
    const { shape, content } = this.#parts;
    return shape.from && new CheckpointFiles(content.checkpoint(shape.from));
  }

  /** Changes what was expected to be other than it is. */
  async #adjust(init: ProcessIdentity, tenure: Tenure): Promise<ProcessIdentity> {
    const { shape, runtime, capabilities, cgroups } = this.#parts;
    const late = lateParts(shape.expects ?? tenure, tenure, capabilities, runtime.name);
    if (!(await isAlive(init))) throw ended(this.id);
    if (late.has('limits')) await runtime.update(this.#places, limitsOf(tenure.limits, cgroups));
    return init;
  }

  #bundle(tenure: Tenure, mounts: readonly PlacedMount[], caBundle: string | undefined): Bundle {
    const { runtime, owner, layout, ownLimits, cgroups } = this.#parts;
    const places = this.#places;
    const devices = this.#devices;
    return createBundle({
      runtime: runtime.name,
      hostname: tenure.hostname,
      rootfs: places.rootfs,
      cgroup: places.cgroup,
      networkNamespace: this.#network.namespacePath,
      ...(owner && runtime.name === 'gvisor' ? { kernelOf: owner.id } : {}),
      limits: tenure.limits,
      binDir: layout.binDir,
      socketDir: places.socketDir,
      mountPointsDir: layout.mountPointsDir,
      etcDir: this.#users ? join(places.mappedDisk, 'etc') : places.etcDir,
      users: this.#users,
      ...(this.#users && { devDir: places.devDir }),
      ...(caBundle === undefined ? {} : { caBundle }),
      ...(devices === undefined ? {} : { devices }),
      mounts,
      ownLimits,
      cgroups,
    });
  }
}

const slotOf = ({ slot, addressing }: Lease): Pick<Lease, 'slot' | 'addressing'> => ({ slot, addressing });

/** Options of gVisor for one that needs more than others: NVIDIA's devices, or mounts of which it keeps nothing. */
function runtimeOptions(runtime: RuntimeName, devices: boolean, direct: boolean): readonly string[] {
  if (runtime !== 'gvisor') return [];
  // A file whose name it remembers it holds open, and who has a file open sees no other's writes in it.
  return [...(devices ? ['--nvproxy'] : []), ...(direct ? ['--dcache=0'] : [])];
}
