/** The engine for this machine: overlayfs, namespaces, cgroups and nftables around an OCI runtime, hardened runc or gVisor. */
import { chmod, mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceId } from '../../ids.ts';
import type { ProcessPlace } from '../../network/host-process.ts';
import { Network } from '../../network/network.ts';
import { Cleanup } from '../../platform/cleanup.ts';
import { type FaultPoint, noFaultPoint } from '../../platform/fault-points.ts';
import { MachineRoom } from '../../platform/machine-room.ts';
import { makePrivateMount, removePrivateMount, unmountBelow } from '../../platform/mounts.ts';
import type { Phases } from '../../platform/phases.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type {
  Adopted,
  Capabilities,
  Device,
  Engine,
  EngineCheck,
  Isolation,
  KeptDisks,
  Prepared,
  RuntimeChoice,
  RuntimeName,
  Shape,
} from '../engine.ts';
import { GUEST_AGENT } from '../paths.ts';
import { destroyJoined, ended } from '../preparation.ts';
import type { CheckpointRef } from '../references.ts';
import { Adoption, readRecords } from './adoption.ts';
import type { AgentListener } from './agent-listener.ts';
import { whyNoBuckets } from './buckets.ts';
import { closeCgroupPlace, isDelegated, openCgroupPlace } from './cgroup-place.ts';
import { Cgroups } from './cgroups.ts';
import { checkMachine, requireMachine } from './check.ts';
import { CheckpointBuilds, CheckpointFiles } from './checkpoints.ts';
import { Disks, whyNoDisks } from './disks.ts';
import { LayerFifos } from './fifos.ts';
import { GpuRuntimes } from './gpus/gpu-runtimes.ts';
import { MachineGpus } from './gpus/machine-gpus.ts';
import { HeaderTrust } from './header-trust.ts';
import { OciInstance } from './instance.ts';
import { ImageDisks } from './kept-disks.ts';
import { defaultRunDir, type InstanceLayout, Layout } from './layout.ts';
import { Leftovers } from './leftovers.ts';
import type { OciEngineOptions } from './options.ts';
import { type OwnLimits, readOwnLimits } from './own-limits.ts';
import { OciPrepared } from './prepared-instance.ts';
import { processBound } from './process-bound.ts';
import { type InstanceRecord, leasesOf } from './record.ts';
import { OciRuntime } from './runtime.ts';
import { chooseRuntime, findRuntimes, type RuntimeFindings } from './runtime-choice.ts';
import { prepareAgent, prepareCaBundle, prepareMountPoints, prepareSkeleton } from './shared-files.ts';
import { SharedRoom } from './shared-room.ts';
import { StartsApart } from './starts-apart.ts';
import { Trees } from './trees.ts';
import { MappedTrees } from './user-ids.ts';
import { whyNoOwnUsers } from './user-ids-trial.ts';

/**
 * No mount and no hostname reaches a container that runs. Of limits, runsc can change none then, and a gVisor kernel shows its programs those of its start; a
 * policy is the machine's matter.
 */
const capabilitiesUnder: Readonly<Record<RuntimeName, Omit<Capabilities, 'disk' | 'buckets'>>> = {
  runc: {
    bindsLate: new Set(['limits', 'network']),
    joins: true,
    commit: true,
    networkPolicy: true,
    tenureMounts: true,
    copiedVolumes: false,
    mounts: true,
    commitDirectory: true,
    devices: true,
    checkpoints: false,
  },
  gvisor: {
    bindsLate: new Set(['network']),
    joins: true,
    commit: true,
    networkPolicy: true,
    tenureMounts: true,
    copiedVolumes: false,
    mounts: true,
    commitDirectory: true,
    devices: true,
    checkpoints: true,
  },
};

/** What `open` finds and makes. */
interface Opened {
  readonly cgroups: Cgroups;
  readonly findings: RuntimeFindings;
  readonly network: Network;
  readonly adoption: Adoption;
  readonly disks: Disks;
  readonly keptDisks: ImageDisks;
  readonly room: SharedRoom;
  /** Whether instances can have one. */
  readonly boundsDisks: boolean;
  /** Whether instances under runc have users of their own. */
  readonly hasOwnUsers: boolean;
  /** Where instances under runc are started; undefined: beside all that is mounted. */
  readonly startsApart: StartsApart | undefined;
  readonly caBundle: string | undefined;
  readonly ownLimits: OwnLimits;
  readonly gpus: MachineGpus;
}

export const createOciEngine = (options: OciEngineOptions): Engine => new OciEngine(options);

class OciEngine implements Engine {
  readonly name = 'oci';
  readonly #options: OciEngineOptions;
  readonly #layout: Layout;
  readonly #logger: Logger;
  readonly #instances = new Map<InstanceId, OciInstance>();
  /** Not yet bound, or not wholly removed: not residue. */
  readonly #prepared = new Map<InstanceId, OciPrepared>();
  readonly #isStarting = () => [...this.#prepared.values()].some(({ isUnderWay }) => isUnderWay);
  readonly #faultPoint: FaultPoint;
  readonly #layerFifos = new LayerFifos();
  readonly #builds: CheckpointBuilds;
  readonly #headerTrust: HeaderTrust;
  readonly #room: MachineRoom;
  #opened: Opened | undefined;

  constructor(options: OciEngineOptions) {
    this.#options = options;
    this.#layout = new Layout(options.dataDir, options.runDir ?? defaultRunDir(options.dataDir));
    this.#builds = new CheckpointBuilds(join(this.#layout.binDir, basename(GUEST_AGENT)));
    this.#logger = options.logger.child({ engine: 'oci' });
    this.#faultPoint = options.faultPoint ?? noFaultPoint;
    this.#room = options.room ?? new MachineRoom(options.dataDir);
    const { config, secretHeaders } = options;
    this.#headerTrust = new HeaderTrust({
      layout: this.#layout,
      extraCaFile: config.extraCaFile,
      secretHeaders,
    });
  }

  check(): Promise<readonly EngineCheck[]> {
    return checkMachine(this.#options, this.#layout);
  }

  async open(): Promise<void> {
    await requireMachine();
    const layout = this.#layout;
    const pids = await processBound(this.#options.config.maxPids);
    await openCgroupPlace(layout.instance, pids);
    for (const directory of [layout.runDir, layout.instancesDir, layout.disksDir, layout.sharedDir]) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
    }
    await makePrivateMount(layout.runDir);
    await makeBundlesDir(layout);
    for (const directory of [
      layout.diskMountsDir,
      ...(['runc', 'gvisor'] as const).map((name) => layout.runtimeRoot(name)),
    ]) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
    }
    await rm(layout.formerLinksDir, { recursive: true, force: true });
    const [cgroups, findings, caBundle, ownLimits] = await Promise.all([
      Cgroups.detect(),
      findRuntimes(this.#options.config.runscPath, layout.runDir),
      prepareCaBundle(layout, this.#options.config.extraCaFile),
      readOwnLimits(),
      prepareSkeleton(layout),
      prepareMountPoints(layout),
      prepareAgent(layout, this.#options.agentBinaryPath),
    ]);
    if (!isDelegated()) {
      const bounded = cgroups.boundProcesses(layout.cgroupParent, pids);
      await bounded.catch((err: unknown) =>
        this.#logger.warn({ pids, err }, 'cgroups.processes-not-bounded'),
      );
    }
    const { subnet, nameservers, allowPrivate, maxConnections } = this.#options.config;
    const { secretHeaders } = this.#options;
    const userNamespaces = await this.#findUserNamespaces(findings.runc, cgroups, ownLimits);
    const leftovers = new Leftovers(layout.leftoversFile, this.#logger);
    const network = new Network({
      instance: layout.instance,
      subnet,
      nameservers,
      allowPrivate,
      maxConnections,
      connections: this.#options.connectionsBinaryPath,
      stateFile: layout.networkStateFile,
      namespaceDir: layout.namespacesDir,
      resolver: {
        program: this.#options.resolverBinaryPath,
        controlSocket: layout.resolverSocket,
        place: placeIn(cgroups, layout.resolverCgroup),
      },
      egress: {
        program: this.#options.egressBinaryPath,
        controlSocket: layout.egressSocket,
        place: placeIn(cgroups, layout.egressCgroup),
      },
      secretHeaders: secretHeaders && { open: secretHeaders.open, trust: () => this.#headerTrust.trust() },
      userNamespaces,
      poolSize: this.#options.networkPoolSize ?? 4,
      isStarting: this.#isStarting,
      watchMs: this.#options.networkWatchMs ?? 10_000,
      logger: this.#logger,
      onLeft: (what, error) => leftovers.note(what, error),
    });
    const disks = await this.#openDisks();
    const records = await readRecords(layout, cgroups);
    const leases = [...records.values()].flatMap(leasesOf);
    await network.open(leases);
    const adoption = new Adoption({
      ...{ layout, cgroups, network, leftovers },
      disks: disks.all,
      logger: this.#logger,
      runtime: (name) => this.#installed(name),
      isOwn: (id) => this.#instances.has(id) || this.#prepared.has(id),
      register: (id, runtime, listener, record) =>
        this.#register(layout.of(id), runtime, listener, record, []),
    });
    const runtimes = new GpuRuntimes(findings);
    const gpus = new MachineGpus(this.#options.config, (kind) => runtimes.of(kind));
    this.#opened = {
      ...{ cgroups, findings, network, adoption, caBundle, ownLimits, gpus },
      ...{ disks: disks.all, keptDisks: disks.kept, room: disks.room },
      boundsDisks: disks.work,
      hasOwnUsers: userNamespaces !== undefined,
      startsApart: findings.runc.ok ? await this.#openStartsApart() : undefined,
    };
  }

  /** What makes user namespaces, where instances can have them. */
  async #findUserNamespaces(
    runc: RuntimeFindings['runc'],
    cgroups: Cgroups,
    ownLimits: OwnLimits,
  ): Promise<string | undefined> {
    if (!runc.ok) return undefined; // gVisor's kernels share nothing
    const program = this.#options.treesBinaryPath;
    const why = await whyNoOwnUsers({ layout: this.#layout, program, runc: runc.path, cgroups, ownLimits });
    if (why === undefined) return program;
    this.#logger.warn({ reason: why }, 'own-users.none');
    return undefined;
  }

  async #openStartsApart(): Promise<StartsApart | undefined> {
    const apart = await StartsApart.open(this.#options.treesBinaryPath, this.#layout);
    if (apart instanceof StartsApart) return apart;
    this.#logger.warn({ reason: apart.why }, 'starts-apart.none');
    return undefined;
  }

  /** Those that an earlier server made are looked after also where none is made now. */
  async #openDisks() {
    const { config, treesBinaryPath: treesBinary, diskPoolSize } = this.#options;
    const layout = this.#layout;
    const why = config.diskLimits === 'off' ? 'off' : await whyNoDisks(layout, treesBinary);
    const work = why === undefined;
    if (!work && config.diskLimits !== 'off') this.#logger.warn({ reason: why }, 'disks.unlimited');
    const { defaultDiskMiB: sizeMiB, defaultDiskFiles: files } = config;
    const usual = work ? { sizeMiB, files } : undefined;
    const logger = this.#logger;
    const room = new SharedRoom(this.#room, logger);
    const poolSize = diskPoolSize ?? 4;
    const isStarting = this.#isStarting;
    const all = new Disks({ layout, treesBinary, usual, poolSize, isStarting, room, logger });
    const { keptDisksDir: directory, keptMountsDir: mounts } = layout;
    const kept = new ImageDisks({ directory, mounts, treesBinary, room, work });
    await kept.openAll();
    all.open();
    room.open();
    return { all, kept, room, work };
  }

  runtimeFor(choice: RuntimeChoice): RuntimeName {
    const asked = choice === 'auto' ? this.#options.config.runtime : choice;
    return chooseRuntime(asked, this.#require().findings).name;
  }

  isolationUnder(runtime: RuntimeName): Isolation {
    return runtime === 'gvisor' || this.#opened?.hasOwnUsers ? runtime : 'runc-shared-users';
  }

  capabilities(runtime: RuntimeName): Capabilities {
    const disk = this.#opened?.boundsDisks === true;
    return {
      ...capabilitiesUnder[runtime],
      disk,
      get buckets() {
        return whyNoBuckets() === undefined; // looked at only when somebody asks, as it may be installed at any time
      },
    };
  }

  get keptDisks(): KeptDisks {
    return this.#require().keptDisks;
  }

  async gpus(): Promise<readonly Device[]> {
    return (await this.#require().gpus.find()).gpus;
  }

  async requireRestorable(from: CheckpointRef): Promise<void> {
    const { gvisor } = this.#require().findings;
    if (!gvisor.ok) throw needsGvisor(`runc: ${gvisor.reason}`);
    const files = new CheckpointFiles(this.#options.content.checkpoint(from));
    await files.requireBuild(await this.#builds.of(gvisor.path, gvisor.version));
  }

  async prepare(shape: Shape, signal: AbortSignal, phases?: Phases): Promise<Prepared> {
    const { cgroups, network, disks, boundsDisks, caBundle, ownLimits, gpus } = this.#require();
    const devices = shape.devices && (await gpus.take(shape.devices));
    signal.throwIfAborted();
    if (this.#instances.has(shape.id) || this.#prepared.has(shape.id)) {
      throw new SkerryError('already-exists', `The instance ${shape.id} exists already.`);
    }
    if (shape.disk && !boundsDisks) {
      throw new SkerryError(
        'unimplemented',
        'This machine cannot bound the files of a sandbox: `skerry doctor` says why.',
      );
    }
    const owner = shape.joins === undefined ? undefined : this.#running(shape.joins);
    owner?.shareNetwork(); // throws when it is about to end
    const asked = shape.runtime === 'auto' ? this.#options.config.runtime : shape.runtime;
    const runtime = this.#runtime(owner?.runtime ?? devices?.runtimeFor(asked) ?? asked);
    if (shape.from) {
      if (runtime.name !== 'gvisor') throw needsGvisor(runtime.name);
      await this.requireRestorable(shape.from);
    }
    const prepared = new OciPrepared({
      ...{ shape, owner, runtime, cgroups, network, disks, caBundle, ownLimits },
      headerBundle: () => this.#headerTrust.bundle(),
      treesBinary: this.#options.treesBinaryPath,
      devices: devices?.edits,
      agent: () => this.#builds.agent(),
      memoryKey: this.#options.memoryKey,
      layout: this.#layout,
      content: this.#options.content,
      mappedTrees: new MappedTrees(this.#options.treesBinaryPath),
      capabilities: this.capabilities(runtime.name),
      gvisor: this.#installed('gvisor'),
      logger: this.#logger,
      faultPoint: this.#faultPoint,
      register: (listener, record, layers) =>
        this.#register(this.#layout.of(shape.id), runtime, listener, record, layers),
      onOver: () => this.#prepared.delete(shape.id),
    });
    this.#prepared.set(shape.id, prepared);
    await prepared.prepare(signal, phases);
    return prepared;
  }

  async destroy(id: InstanceId): Promise<void> {
    await this.#prepared.get(id)?.destroy();
    await this.#instances.get(id)?.destroy(); // also when it was bound in the last moment
    await this.#require().adoption.destroy(id);
  }

  adopt(ids: ReadonlySet<InstanceId>): Promise<Adopted> {
    return this.#require().adoption.adopt(ids);
  }

  async close(): Promise<void> {
    const all = [...this.#instances.values(), ...this.#prepared.values()];
    await Promise.all(all.map((instance) => instance.detach()));
    await this.#opened?.network.close();
    this.#opened?.room.close();
    await this.#opened?.disks.close();
  }

  async remove(): Promise<void> {
    const { cgroups, network } = this.#require();
    const { instance, runDir, sharedDir, instancesDir, disksDir, keptDisksDir, cgroupParent } = this.#layout;
    const removal = new Cleanup(); // runs from the last to the first, and goes on where one fails
    removal.add('instances', () => rmdir(instancesDir).catch(() => {}));
    removal.add('disks', () => rmdir(disksDir).catch(() => {}));
    removal.add('kept disks', () => rmdir(keptDisksDir).catch(() => {})); // what is in one stays
    removal.add('shared files', () => rm(sharedDir, { recursive: true, force: true }));
    removal.add('run directory', async () => {
      await unmountBelow(runDir);
      await removePrivateMount(runDir);
      await rm(runDir, { recursive: true, force: true });
    });
    removal.add('cgroups', async () => {
      await closeCgroupPlace(instance);
      await cgroups.remove(cgroupParent);
    });
    removal.add('network', () => network.remove());
    await removal.run();
  }

  #require(): Opened {
    if (!this.#opened) throw new SkerryError('internal', 'The engine was used before it was opened.');
    return this.#opened;
  }

  #runtime(choice: RuntimeChoice): OciRuntime {
    const { findings, startsApart } = this.#require();
    const { name, path } = chooseRuntime(choice, findings);
    return new OciRuntime(name, path, this.#layout, name === 'runc' ? startsApart : undefined);
  }

  /** A runtime as it is on the machine, for what runs under it or may be left of it. */
  #installed(name: RuntimeName): OciRuntime | undefined {
    const finding = this.#require().findings[name];
    return finding.ok ? new OciRuntime(name, finding.path, this.#layout) : undefined;
  }

  /** @throws SkerryError `sandbox-ended` */
  #running(id: InstanceId): OciInstance {
    const instance = this.#instances.get(id);
    if (!instance) throw ended(id);
    return instance;
  }

  #register(
    places: InstanceLayout,
    runtime: OciRuntime,
    listener: AgentListener,
    record: InstanceRecord,
    layers: readonly string[],
  ): OciInstance {
    const { cgroups, network, disks, findings } = this.#require();
    const joined = () =>
      [...this.#instances.values(), ...this.#prepared.values()].filter(({ joins }) => joins === places.id);
    const version = findings.gvisor.ok ? findings.gvisor.version : 'gVisor';
    const instance = new OciInstance({
      layout: this.#layout,
      places,
      runtime,
      endJoined: () => destroyJoined([...this.#instances.values(), ...this.#prepared.values()], places.id),
      hasJoined: () => joined().length > 0,
      build: (pid) => this.#builds.of(`/proc/${pid}/exe`, version),
      memoryKey: this.#options.config.encryptMemorySnapshots === 'on' ? this.#options.memoryKey : undefined,
      cgroups,
      network,
      disks,
      room: this.#room,
      listener,
      record,
      logger: this.#logger,
      faultPoint: this.#faultPoint,
      imageFifos: () => this.#layerFifos.in(layers),
      content: this.#options.content,
      trees: new Trees(this.#options.treesBinaryPath),
      mappedTrees: new MappedTrees(this.#options.treesBinaryPath),
      onDestroyed: () => this.#instances.delete(places.id),
    });
    this.#instances.set(places.id, instance);
    return instance;
  }
}

const needsGvisor = (instead: string): SkerryError =>
  new SkerryError('unimplemented', `A snapshot of the memory needs gVisor, and there is ${instead}.`);

/** Holds a process of the host. */
const placeIn = (cgroups: Cgroups, cgroup: string): ProcessPlace => ({
  make: () => cgroups.make(cgroup),
  clear: async () => {
    await cgroups.kill(cgroup);
    await cgroups.remove(cgroup);
  },
});

/** Other users of the machine may pass through to a bundle that is theirs: those of user namespaces do. They can list nothing, and enter nothing else. */
async function makeBundlesDir({ runDir, bundlesDir, mountPointsDir }: Layout): Promise<void> {
  await mkdir(bundlesDir, { recursive: true });
  const open = [bundlesDir, mountPointsDir];
  for (const directory of [bundlesDir, runDir]) {
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory() && !open.includes(path)) await chmod(path, 0o700);
    }
    await chmod(directory, 0o711);
  }
}
