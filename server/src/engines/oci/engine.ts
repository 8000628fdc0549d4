/** The engine for this machine: overlayfs, namespaces, cgroups and nftables around an OCI runtime, hardened runc or gVisor. */
import { existsSync } from 'node:fs';
import { mkdir, rm, rmdir } from 'node:fs/promises';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceId } from '../../ids.ts';
import { Network } from '../../network/network.ts';
import { Cleanup } from '../../platform/cleanup.ts';
import { type FaultPoint, noFaultPoint } from '../../platform/fault-points.ts';
import { makePrivateMount, removePrivateMount, unmountBelow } from '../../platform/mounts.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type {
  Adopted,
  Capabilities,
  Engine,
  EngineCheck,
  Instance,
  Prepared,
  RuntimeChoice,
  RuntimeName,
  Shape,
} from '../engine.ts';
import { AgentListener } from './agent-listener.ts';
import { closeCgroupPlace, openCgroupPlace } from './cgroup-place.ts';
import { Cgroups } from './cgroups.ts';
import { checkMachine, requireMachine } from './check.ts';
import { LayerFifos } from './fifos.ts';
import { isUp, OciInstance, pauseMarker } from './instance.ts';
import { defaultRunDir, type InstanceLayout, Layout } from './layout.ts';
import { Leftovers } from './leftovers.ts';
import type { OciEngineOptions } from './options.ts';
import { type OwnLimits, readOwnLimits } from './own-limits.ts';
import { OciPrepared } from './prepared-instance.ts';
import { type InstanceRecord, readRecord } from './record.ts';
import { haltInstance, killStarters, removeInstanceFiles, tracedInstances } from './residue.ts';
import { OciRuntime } from './runtime.ts';
import { chooseRuntime, findRuntimes, type RuntimeFindings } from './runtime-choice.ts';
import { prepareAgent, prepareCaBundle, prepareSkeleton } from './shared-files.ts';

/**
 * No mount and no hostname reaches a container that runs. Of limits, runsc can change none then, and a gVisor kernel shows its programs those of its start; a
 * policy is the machine's matter.
 */
const capabilitiesUnder: Readonly<Record<RuntimeName, Capabilities>> = {
  runc: { bindsLate: new Set(['limits', 'network']), joins: true, commit: true, networkPolicy: true },
  gvisor: { bindsLate: new Set(['network']), joins: true, commit: true, networkPolicy: true },
};

/** How the notes call what is left of an instance. */
const leftoverOf = (id: InstanceId): string => `sandbox ${id}`;

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
  /** Not yet bound, or not wholly removed: not residue. */
  readonly #prepared = new Map<InstanceId, OciPrepared>();
  /** What an earlier server left and could not be removed yet. */
  readonly #left = new Map<InstanceId, Cleanup>();
  readonly #faultPoint: FaultPoint;
  readonly #layerFifos = new LayerFifos();
  #opened: Opened | undefined;

  constructor(options: OciEngineOptions) {
    this.#options = options;
    this.#layout = new Layout(options.dataDir, options.runDir ?? defaultRunDir(options.dataDir));
    this.#logger = options.logger.child({ engine: 'oci' });
    this.#faultPoint = options.faultPoint ?? noFaultPoint;
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

  runtimeFor(choice: RuntimeChoice): RuntimeName {
    const asked = choice === 'auto' ? this.#options.config.runtime : choice;
    return chooseRuntime(asked, this.#require().findings).name;
  }

  capabilities(runtime: RuntimeName): Capabilities {
    return capabilitiesUnder[runtime];
  }

  async prepare(shape: Shape, signal: AbortSignal): Promise<Prepared> {
    const { cgroups, network, caBundle, ownLimits } = this.#require();
    signal.throwIfAborted();
    if (this.#instances.has(shape.id) || this.#prepared.has(shape.id)) {
      throw new SkerryError('already-exists', `The instance ${shape.id} exists already.`);
    }
    const owner = shape.joins === undefined ? undefined : this.#running(shape.joins);
    owner?.shareNetwork(); // throws when it is about to end
    const asked = shape.runtime === 'auto' ? this.#options.config.runtime : shape.runtime;
    const runtime = this.#runtime(owner?.runtime ?? asked);
    const prepared = new OciPrepared({
      ...{ shape, owner, runtime, cgroups, network, caBundle, ownLimits },
      layout: this.#layout,
      content: this.#options.content,
      capabilities: this.capabilities(runtime.name),
      gvisor: this.#gvisor(),
      logger: this.#logger,
      faultPoint: this.#faultPoint,
      register: (listener, record, layers) =>
        this.#register(this.#layout.of(shape.id), runtime, listener, record, layers),
      onOver: () => this.#prepared.delete(shape.id),
    });
    this.#prepared.set(shape.id, prepared);
    await prepared.prepare(signal);
    return prepared;
  }

  async destroy(id: InstanceId): Promise<void> {
    await this.#prepared.get(id)?.destroy();
    await this.#instances.get(id)?.destroy(); // also when it was bound in the last moment
    await this.#left.get(id)?.run();
    if (this.#left.delete(id)) this.#require().leftovers.forget(leftoverOf(id));
  }

  async adopt(ids: ReadonlySet<InstanceId>): Promise<Adopted> {
    const { cgroups, network, leftovers } = this.#require();
    const records = await this.#records(cgroups);
    const instances = new Map<InstanceId, Instance>();
    for (const [id, record] of records) {
      if (!ids.has(id) || this.#instances.has(id)) continue;
      try {
        const instance = await this.#takeOver(this.#layout.of(id), record);
        if (instance) instances.set(id, instance);
      } catch (error) {
        // One sandbox that cannot be taken over ends; the others go on.
        this.#logger.error({ instance: id, err: error }, 'instance.not-adopted');
      }
    }
    const traced = await tracedInstances(this.#layout, cgroups);
    const residue = new Set([...traced].filter((id) => !this.#instances.has(id) && !this.#prepared.has(id)));
    if (residue.size > 0) await killStarters(this.#layout, residue);
    for (const id of residue) {
      const oomKilled = (await cgroups.oomKills(this.#layout.of(id).cgroup)) > 0;
      this.#logger.info({ instance: id, oomKilled, known: ids.has(id) }, 'instance.gone');
      const slot = records.get(id)?.slot;
      const removal = new Cleanup(); // a step that succeeded is not taken again: another may have the slot by then
      if (slot !== undefined) removal.add('network', () => network.release(slot));
      removal.add('residue', () => this.#removeResidue(id, cgroups));
      try {
        await removal.run();
      } catch (error) {
        this.#left.set(id, removal);
        leftovers.note(leftoverOf(id), error);
      }
    }
    return { instances, left: [...this.#left.keys()] };
  }

  async close(): Promise<void> {
    const all = [...this.#instances.values(), ...this.#prepared.values()];
    await Promise.all(all.map((instance) => instance.detach()));
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

  #runtime(choice: RuntimeChoice): OciRuntime {
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
      endJoined: () => this.#endJoined(places.id),
      cgroups,
      network,
      listener,
      record,
      logger: this.#logger,
      faultPoint: this.#faultPoint,
      imageFifos: () => this.#layerFifos.in(layers),
      content: this.#options.content,
      onDestroyed: () => this.#instances.delete(places.id),
    });
    this.#instances.set(places.id, instance);
    return instance;
  }

  /** Destroys those that share the network of an instance. What cannot be ended now goes down with it, and is cleaned up by its own next destroy. */
  async #endJoined(id: InstanceId): Promise<void> {
    const all = [...this.#instances.values(), ...this.#prepared.values()];
    const joined = all.filter(({ joins }) => joins === id);
    await Promise.allSettled(joined.map((instance) => instance.destroy()));
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
