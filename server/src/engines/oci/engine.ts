/** The engine for this machine: overlayfs, namespaces, cgroups and nftables around an OCI runtime, hardened runc or gVisor. */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceId } from '../../ids.ts';
import { type Lease, Network } from '../../network/network.ts';
import { Cleanup } from '../../platform/cleanup.ts';
import { makePrivateMount, removePrivateMount, unmountBelow } from '../../platform/mounts.ts';
import { delay } from '../../platform/wait.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Engine, EngineCheck, Instance, InstanceSpec, RuntimeName } from '../engine.ts';
import { AgentListener } from './agent-listener.ts';
import { createBundle } from './bundle.ts';
import { closeCgroupPlace, openCgroupPlace } from './cgroup-place.ts';
import { Cgroups } from './cgroups.ts';
import { checkMachine, requireMachine } from './check.ts';
import { writeEtcFiles } from './etc-files.ts';
import { LayerFifos } from './fifos.ts';
import { isUp, OciInstance, pauseMarker } from './instance.ts';
import { defaultRunDir, type InstanceLayout, Layout } from './layout.ts';
import { Leftovers } from './leftovers.ts';
import { type PlacedMount, placeMounts } from './mounts.ts';
import type { OciEngineOptions } from './options.ts';
import { mountRootfs } from './overlay.ts';
import { type OwnLimits, readOwnLimits } from './own-limits.ts';
import { identify, isAlive, type ProcessIdentity } from './process-identity.ts';
import { Reaper } from './reaper.ts';
import { type InstanceRecord, readRecord, writeRecord } from './record.ts';
import { haltInstance, killStarters, removeInstanceFiles, tracedInstances } from './residue.ts';
import { OciRuntime } from './runtime.ts';
import { chooseRuntime, findRuntimes, type RuntimeFindings } from './runtime-choice.ts';
import { settleAll } from './settle-all.ts';
import { prepareAgent, prepareCaBundle, prepareSkeleton } from './shared-files.ts';

/** How long a started sandbox's agent may take to dial; under gVisor on a busy machine it takes seconds. */
const AGENT_TIMEOUT_MS = 30_000;
/** How often the start looks whether the sandbox still lives while it waits for the agent. */
const START_POLL_MS = 100;

/** What `open` finds and makes. */
interface Opened {
  readonly cgroups: Cgroups;
  readonly findings: RuntimeFindings;
  readonly network: Network;
  readonly leftovers: Leftovers;
  readonly caBundle: string | undefined;
  readonly ownLimits: OwnLimits;
}

export const createOciEngine = (options: OciEngineOptions): Engine => new OciEngine(options);

class OciEngine implements Engine {
  readonly name = 'oci';
  readonly #options: OciEngineOptions;
  readonly #layout: Layout;
  readonly #logger: Logger;
  readonly #instances = new Map<InstanceId, OciInstance>();
  /** Instances being created: not yet instances, but not residue either. */
  readonly #starting = new Set<InstanceId>();
  readonly #reaper: Reaper;
  readonly #layerFifos = new LayerFifos();
  #opened: Opened | undefined;

  constructor(options: OciEngineOptions) {
    this.#options = options;
    this.#layout = new Layout(options.dataDir, options.runDir ?? defaultRunDir(options.dataDir));
    this.#logger = options.logger.child({ engine: 'oci' });
    this.#reaper = new Reaper(this.#logger);
  }

  check(): Promise<readonly EngineCheck[]> {
    return checkMachine(this.#options, this.#layout);
  }

  async open(): Promise<void> {
    await requireMachine();
    const layout = this.#layout;
    await openCgroupPlace(layout.instance);
    for (const directory of [layout.runDir, layout.instancesDir, layout.sharedDir]) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
    }
    await makePrivateMount(layout.runDir);
    await mkdir(layout.bundlesDir, { recursive: true });
    await rm(layout.formerLinksDir, { recursive: true, force: true });
    const [cgroups, findings, caBundle, ownLimits] = await Promise.all([
      Cgroups.detect(),
      findRuntimes(this.#options.config.runscPath, layout.runDir),
      prepareCaBundle(layout, this.#options.config.extraCaFile),
      readOwnLimits(),
      prepareSkeleton(layout),
      prepareAgent(layout, this.#options.agentBinaryPath),
    ]);
    const { subnet, nameservers, allowPrivate } = this.#options.config;
    const leftovers = new Leftovers(layout.leftoversFile, this.#logger);
    const network = new Network({
      instance: layout.instance,
      subnet,
      nameservers,
      allowPrivate,
      stateFile: layout.networkStateFile,
      namespaceDir: layout.namespacesDir,
      poolSize: this.#options.networkPoolSize ?? 4,
      watchMs: this.#options.networkWatchMs ?? 10_000,
      logger: this.#logger,
      onLeft: (what, error) => leftovers.note(what, error),
    });
    const records = await this.#records(cgroups);
    const leases = [...records.values()].flatMap(({ slot, policy }) =>
      slot === undefined ? [] : [{ slot, policy }],
    );
    await network.open(leases);
    this.#opened = { cgroups, findings, network, leftovers, caBundle, ownLimits };
  }

  runtimeFor(choice: InstanceSpec['runtime']): RuntimeName {
    const asked = choice === 'auto' ? this.#options.config.runtime : choice;
    return chooseRuntime(asked, this.#require().findings).name;
  }

  async create(spec: InstanceSpec, signal: AbortSignal): Promise<Instance> {
    const opened = this.#require();
    const { cgroups } = opened;
    signal.throwIfAborted();
    if (this.#instances.has(spec.id) || this.#starting.has(spec.id)) {
      throw new SkerryError('already-exists', `The instance ${spec.id} exists already.`);
    }
    const { content } = this.#options;
    const mounts = placeMounts(spec.mounts, content);
    const layers = spec.layers.map((layer) => content.layer(layer));
    const places = this.#layout.of(spec.id);
    const owner = spec.joins === undefined ? undefined : this.#running(spec.joins);
    const runtime = this.#runtime(
      owner?.runtime ?? (spec.runtime === 'auto' ? this.#options.config.runtime : spec.runtime),
    );
    const started = performance.now();
    this.#starting.add(spec.id);
    const undo = new Cleanup();
    try {
      undo.add('files', () => removeInstanceFiles(places));
      await Promise.all([
        mkdir(places.socketDir, { recursive: true, mode: 0o700 }),
        mkdir(places.rootfs, { recursive: true }),
        mkdir(places.upper, { recursive: true, mode: 0o755 }),
        mkdir(places.work, { recursive: true }),
        mkdir(places.etcDir, { recursive: true, mode: 0o755 }),
      ]);
      undo.add('processes and mounts', () => haltInstance(this.#layout, cgroups, places, this.#gvisor()));
      const listener = new AgentListener(places.socket);
      undo.add('listener', () => listener.close());
      const [lease] = await settleAll([
        this.#prepareNetwork(opened, runtime.name, spec, mounts, places, owner, undo),
        mountRootfs(this.#layout, places, layers),
        listener.listen(),
      ]);
      await runtime.start(places, signal);
      const init = await readInit(places);
      await this.#awaitAgent(listener, init, places, cgroups, runtime.name, signal);
      const record: InstanceRecord = {
        version: 1,
        runtime: runtime.name,
        init,
        ...(owner ? { joins: owner.id } : { slot: lease.slot }),
        policy: spec.network,
      };
      await writeRecord(places, record);
      signal.throwIfAborted();
      owner?.shareNetwork(); // throws when it ended meanwhile; from the registration on, its destroy takes this one along
      const instance = this.#register(places, runtime, listener, record, layers);
      this.#logger.debug(
        { instance: spec.id, runtime: runtime.name, ms: performance.now() - started },
        'instance.created',
      );
      return instance;
    } catch (error) {
      try {
        await undo.run();
      } catch (left) {
        this.#logger.error({ instance: spec.id, err: left }, 'instance.create-cleanup-failed');
        this.#reaper.retry(spec.id, () => undo.run());
      }
      throw error;
    } finally {
      this.#starting.delete(spec.id);
    }
  }

  async adopt(ids: ReadonlySet<InstanceId>): Promise<ReadonlyMap<InstanceId, Instance>> {
    const { cgroups, network, leftovers } = this.#require();
    const records = await this.#records(cgroups);
    const adopted = new Map<InstanceId, Instance>();
    for (const [id, record] of records) {
      if (!ids.has(id) || this.#instances.has(id)) continue;
      try {
        const instance = await this.#takeOver(this.#layout.of(id), record);
        if (instance) adopted.set(id, instance);
      } catch (error) {
        // One sandbox that cannot be taken over ends; the others go on.
        this.#logger.error({ instance: id, err: error }, 'instance.not-adopted');
      }
    }
    const traced = await tracedInstances(this.#layout, cgroups);
    const residue = new Set([...traced].filter((id) => !this.#instances.has(id) && !this.#starting.has(id)));
    if (residue.size === 0) return adopted;
    await killStarters(this.#layout, residue);
    for (const id of residue) {
      const oomKilled = (await cgroups.oomKills(this.#layout.of(id).cgroup)) > 0;
      this.#logger.info({ instance: id, oomKilled, known: ids.has(id) }, 'instance.gone');
      const slot = records.get(id)?.slot;
      try {
        await settleAll([
          this.#removeResidue(id, cgroups),
          ...(slot === undefined ? [] : [network.release(slot)]),
        ]);
      } catch (error) {
        leftovers.note(`sandbox ${id}`, error);
      }
    }
    return adopted;
  }

  async close(): Promise<void> {
    await this.#reaper.close();
    await Promise.all([...this.#instances.values()].map((instance) => instance.detach()));
    await this.#opened?.network.close();
  }

  async remove(): Promise<void> {
    const { cgroups, network } = this.#require();
    const { instance, runDir, sharedDir, instancesDir, cgroupParent } = this.#layout;
    const removal = new Cleanup(); // runs from the last to the first, and goes on where one fails
    removal.add('instances', () => rmdir(instancesDir).catch(() => {}));
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

  #runtime(choice: InstanceSpec['runtime']): OciRuntime {
    const { name, path } = chooseRuntime(choice, this.#require().findings);
    return new OciRuntime(name, path, this.#layout);
  }

  /** gVisor as it is on the machine, for what may be left of it. */
  #gvisor(): OciRuntime | undefined {
    const finding = this.#require().findings.gvisor;
    return finding.ok ? new OciRuntime('gvisor', finding.path, this.#layout) : undefined;
  }

  /** @throws SkerryError `sandbox-ended` */
  #running(id: InstanceId): OciInstance {
    const instance = this.#instances.get(id);
    if (!instance) throw new SkerryError('sandbox-ended', `The sandbox of ${id} has already completed.`);
    return instance;
  }

  /** The bundle can be written as soon as the namespace is known, while the mount is under way. */
  async #prepareNetwork(
    { network, cgroups, caBundle, ownLimits }: Opened,
    runtime: RuntimeName,
    spec: InstanceSpec,
    mounts: readonly PlacedMount[],
    places: InstanceLayout,
    owner: OciInstance | undefined,
    undo: Cleanup,
  ): Promise<Lease> {
    const lease = owner ? network.lease(owner.shareNetwork()) : await network.acquire(spec.network);
    if (!owner) undo.add('network', () => network.release(lease.slot));
    const bundle = createBundle({
      runtime,
      hostname: spec.hostname,
      rootfs: places.rootfs,
      cgroup: places.cgroup,
      networkNamespace: lease.namespacePath,
      ...(owner && runtime === 'gvisor' ? { kernelOf: owner.id } : {}),
      limits: spec.limits,
      binDir: this.#layout.binDir,
      socketDir: places.socketDir,
      etcDir: places.etcDir,
      ...(caBundle === undefined ? {} : { caBundle }),
      mounts,
      ownLimits,
      cgroups,
    });
    await Promise.all([
      writeFile(join(places.dir, 'config.json'), JSON.stringify(bundle)),
      writeEtcFiles(places, {
        hostname: spec.hostname,
        address: lease.guestAddress,
        resolver: lease.resolver,
      }),
    ]);
    return lease;
  }

  async #awaitAgent(
    listener: AgentListener,
    init: ProcessIdentity,
    places: InstanceLayout,
    cgroups: Cgroups,
    runtime: RuntimeName,
    signal: AbortSignal,
  ): Promise<void> {
    const deadline = Date.now() + AGENT_TIMEOUT_MS;
    const done = new AbortController();
    const either = AbortSignal.any([signal, done.signal]);
    const watch = async () => {
      while (Date.now() < deadline) {
        await delay(START_POLL_MS, either);
        if (await isAlive(init)) continue;
        if ((await cgroups.oomKills(places.cgroup)) > 0) {
          throw new SkerryError('resource-exhausted', 'The sandbox ran out of memory while it started.');
        }
        throw new SkerryError('internal', `The sandbox died while it started under ${runtime}.`);
      }
      throw new SkerryError('internal', `The agent did not connect within ${AGENT_TIMEOUT_MS / 1000} s.`);
    };
    try {
      await Promise.race([listener.connection, watch()]);
    } finally {
      done.abort();
    }
  }

  /** The living instance of a record with its socket bound anew; undefined when it is dead or its runtime is gone from the machine. */
  async #takeOver(places: InstanceLayout, record: InstanceRecord): Promise<OciInstance | undefined> {
    const finding = this.#require().findings[record.runtime];
    if (!finding.ok) return undefined;
    const runtime = new OciRuntime(record.runtime, finding.path, this.#layout);
    // One that cannot be looked at now is not for that reason dead: its watch looks again.
    if (!(await isUp(runtime, places, record).catch(() => true))) return undefined;
    if (existsSync(pauseMarker(places))) {
      await runtime.resume(places).catch(() => {}); // the pause itself may not have happened
      await rm(pauseMarker(places), { force: true });
    }
    const listener = new AgentListener(places.socket);
    await listener.listen();
    return this.#register(places, runtime, listener, record, []);
  }

  #register(
    places: InstanceLayout,
    runtime: OciRuntime,
    listener: AgentListener,
    record: InstanceRecord,
    layers: readonly string[],
  ): OciInstance {
    const { cgroups, network } = this.#require();
    const instance = new OciInstance({
      layout: this.#layout,
      places,
      runtime,
      joined: () => [...this.#instances.values()].filter(({ joins }) => joins === places.id),
      cgroups,
      network,
      listener,
      record,
      logger: this.#logger,
      onLeft: () => this.#reaper.retry(places.id, () => instance.destroy()),
      imageFifos: () => this.#layerFifos.in(layers),
      content: this.#options.content,
      onDestroyed: () => this.#instances.delete(places.id),
    });
    this.#instances.set(places.id, instance);
    return instance;
  }

  async #records(cgroups: Cgroups): Promise<Map<InstanceId, InstanceRecord>> {
    const records = new Map<InstanceId, InstanceRecord>();
    for (const id of await tracedInstances(this.#layout, cgroups)) {
      const record = await readRecord(this.#layout.of(id));
      if (record) records.set(id, record);
    }
    return records;
  }

  async #removeResidue(id: InstanceId, cgroups: Cgroups): Promise<void> {
    const places = this.#layout.of(id);
    await haltInstance(this.#layout, cgroups, places, this.#gvisor());
    await removeInstanceFiles(places);
  }
}

/** The runtime wrote the number of the container's first process; it must be alive to be told from a later one with the same number. */
async function readInit(places: InstanceLayout): Promise<ProcessIdentity> {
  const init = await identify(Number(await readFile(places.pidFile, 'utf8')));
  if (init) return init;
  throw new SkerryError('internal', 'The sandbox died as soon as it was started.');
}
