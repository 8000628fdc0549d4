/**
 * An engine for tests: an instance is the real agent with a copy of its image for a root filesystem, in namespaces of its own. It starts in
 * milliseconds, needs no runtime, and fails where a test wants it to. It keeps nobody in: there are no limits, and no network beyond the loopback.
 *
 * Instances outlive the engine object, and its process: another engine over the same directory adopts them.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import { type InstanceId, isInstanceId } from '../../ids.ts';
import { Cleanup } from '../../platform/cleanup.ts';
import { type FaultPoint, noFaultPoint } from '../../platform/fault-points.ts';
import type {
  Adopted,
  Capabilities,
  Device,
  Engine,
  EngineCheck,
  Instance,
  Isolation,
  MountCopies,
  Prepared,
  RuntimeChoice,
  RuntimeName,
  Shape,
} from '../engine.ts';
import { AgentListener } from '../oci/agent-listener.ts';
import { isAlive } from '../oci/process-identity.ts';
import { prepareAgent } from '../oci/shared-files.ts';
import { destroyJoined, ended } from '../preparation.ts';
import type { CheckpointRef } from '../references.ts';
import { type FakeContent, keptPrograms, placeOf } from './fake-checkpoint.ts';
import { FakeInstance, type FakeRecord, unable } from './fake-instance.ts';
import { FakePrepared } from './fake-prepared.ts';
import { FakeProcess } from './fake-process.ts';
import { namesIn } from './fake-root.ts';
import { Faults } from './faults.ts';
import { noCapabilities } from './no-capabilities.ts';

/** What it can do unless a test wants it otherwise: as much as runc. */
export const able: Capabilities = {
  ...noCapabilities,
  bindsLate: new Set(['limits', 'network']),
  ...{ joins: true, commit: true, networkPolicy: true, tenureMounts: true, devices: true },
};

export interface FakeEngineOptions {
  /** What an instance says it runs on whose creator leaves that open; runc by default. */
  readonly usual?: RuntimeName;
  readonly capabilities?: Capabilities;
  /** Those it has. They are a variable, `FAKE_GPUS`, and nothing more. */
  readonly gpus?: readonly Device[];
  readonly faultPoint?: FaultPoint;
}

/** Where the parts of one instance are. */
export interface FakePlaces {
  readonly dir: string;
  readonly root: string;
  readonly etcDir: string;
  readonly socketDir: string;
  readonly socket: string;
  readonly record: string;
  readonly mountTable: string;
  /** There while it stands still. */
  readonly stands: string;
  readonly errors: string;
}

export class FakeEngine implements Engine {
  readonly name = 'fake';
  readonly keptDisks = undefined;
  /** What is to go wrong. */
  readonly faults = new Faults();
  /** Of all of its instances: it has none of its own accord. */
  copies: MountCopies | undefined;
  readonly #directory: string;
  readonly #binDir: string;
  readonly #agentBinaryPath: string;
  readonly #content: FakeContent;
  readonly #usual: RuntimeName;
  readonly #instances = new Map<InstanceId, FakeInstance>();
  readonly #prepared = new Map<InstanceId, FakePrepared>();
  /** What an earlier engine left and could not be removed yet. */
  readonly #left = new Map<InstanceId, { readonly removal: Cleanup; readonly devices: readonly string[] }>();
  readonly #capabilities: Capabilities;
  readonly #faultPoint: FaultPoint;
  /** A test may take some away, or add some. */
  availableGpus: readonly Device[];

  /**
   * @param directory may hold what an earlier engine left; short, since sockets lie in it
   * @param content where layers and mounts are
   */
  constructor(
    directory: string,
    agentBinaryPath: string,
    content: FakeContent,
    { usual = 'runc', capabilities = able, gpus = [], faultPoint = noFaultPoint }: FakeEngineOptions = {},
  ) {
    this.#directory = directory;
    this.#content = content;
    this.#binDir = join(directory, 'bin');
    this.#agentBinaryPath = agentBinaryPath;
    this.#usual = usual;
    this.availableGpus = gpus;
    this.#capabilities = capabilities;
    this.#faultPoint = faultPoint;
  }

  /** Instances that were not destroyed. */
  get instances(): ReadonlyMap<InstanceId, FakeInstance> {
    return this.#instances;
  }

  /** Instances that are nobody's yet, or could not be made and are not wholly gone. */
  get making(): Iterable<InstanceId> {
    return this.#prepared.keys();
  }

  /** The first process of a waiting one dies. */
  async crashWaiting(id: InstanceId): Promise<void> {
    await this.#prepared.get(id)?.crash();
  }

  async check(): Promise<readonly EngineCheck[]> {
    return [];
  }

  async open(): Promise<void> {
    await mkdir(join(this.#directory, 'i'), { recursive: true, mode: 0o700 });
    if (existsSync(this.#binDir)) return; // of an earlier engine, whose instances run from it
    await prepareAgent({ binDir: this.#binDir }, this.#agentBinaryPath);
  }

  runtimeFor(choice: RuntimeChoice): RuntimeName {
    return choice === 'auto' ? this.#usual : choice;
  }

  isolationUnder(runtime: RuntimeName): Isolation {
    return runtime;
  }

  capabilities(): Capabilities {
    return this.#capabilities;
  }

  async gpus(): Promise<readonly Device[]> {
    return this.availableGpus;
  }

  async requireRestorable(from: CheckpointRef): Promise<void> {
    if (!this.#capabilities.checkpoints) throw unable('go on from a checkpoint');
    await keptPrograms(placeOf(this.#content, from));
  }

  async prepare(shape: Shape, signal: AbortSignal): Promise<Prepared> {
    signal.throwIfAborted();
    if (this.#instances.has(shape.id) || this.#prepared.has(shape.id)) {
      throw new SkerryError('already-exists', `The instance ${shape.id} exists already.`);
    }
    if (shape.joins !== undefined && !this.#capabilities.joins) throw unable('join another');
    if (shape.from !== undefined) await this.requireRestorable(shape.from);
    const owner = shape.joins === undefined ? undefined : this.#running(shape.joins);
    const prepared = new FakePrepared({
      shape,
      runtime: owner?.runtime ?? this.#runtimeOf(shape),
      owner,
      places: this.#places(shape.id),
      binDir: this.#binDir,
      content: this.#content,
      capabilities: this.#capabilities,
      faults: this.faults,
      faultPoint: this.#faultPoint,
      register: (record, listener, process) => this.#register(shape.id, record, listener, process),
      onOver: () => this.#prepared.delete(shape.id),
    });
    this.#prepared.set(shape.id, prepared);
    await prepared.prepare(signal);
    return prepared;
  }

  async destroy(id: InstanceId): Promise<void> {
    await this.#prepared.get(id)?.destroy();
    await this.#instances.get(id)?.destroy(); // also when it was bound in the last moment
    await this.#left.get(id)?.removal.run();
    this.#left.delete(id);
  }

  async adopt(ids: ReadonlySet<InstanceId>): Promise<Adopted> {
    await this.faults.pass('adopt', undefined);
    const instances = new Map<InstanceId, Instance>();
    for (const id of await namesIn(join(this.#directory, 'i'))) {
      if (!isInstanceId(id) || this.#instances.has(id) || this.#prepared.has(id)) continue;
      const places = this.#places(id);
      const text = await readFile(places.record, 'utf8').catch(() => undefined);
      // Written by `FakePrepared.bind` and by nothing else.
      const record = text === undefined ? undefined : (JSON.parse(text) as FakeRecord);
      if (record && ids.has(id) && (await isAlive(record.init))) {
        const listener = new AgentListener(places.socket);
        await listener.listen();
        const instance = this.#register(id, record, listener, FakeProcess.adopt(places.dir, record));
        await instance.resume();
        instances.set(id, instance);
      } else {
        const removal = new Cleanup();
        removal.add('files', () => rm(places.dir, { recursive: true, force: true }));
        removal.add('process', async () => {
          await this.faults.pass('undo', id);
          await FakeProcess.adopt(places.dir, record).kill();
        });
        const devices = record?.devices ?? [];
        await removal.run().catch(() => this.#left.set(id, { removal, devices }));
      }
    }
    return { instances, left: new Map([...this.#left].map(([id, { devices }]) => [id, devices])) };
  }

  async close(): Promise<void> {
    const all = [...this.#instances.values(), ...this.#prepared.values()];
    await Promise.all(all.map((instance) => instance.detach()));
    this.#instances.clear();
    this.#prepared.clear();
  }

  async remove(): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
  }

  /** Every directory and process of an instance, as lines to compare. */
  async traces(): Promise<string[]> {
    const directories = (await namesIn(join(this.#directory, 'i'))).map((name) => `directory ${name}`);
    const processes = await FakeProcess.below(join(this.#directory, 'i'));
    return [...directories, ...processes.map((dir) => `process of ${dir}`)].sort();
  }

  #runtimeOf({ runtime, devices = [] }: Shape): RuntimeName {
    if (devices.length > 0 && !this.#capabilities.devices) throw unable('have devices');
    const order = runtime === 'auto' ? (['gvisor', 'runc'] as const) : [runtime];
    const have = devices.map((name) => {
      const device = this.availableGpus.find((gpu) => gpu.name === name);
      if (!device) throw new SkerryError('unavailable', `The device ${name} is not there any more.`);
      return device;
    });
    if (have.length === 0) return this.runtimeFor(runtime);
    const able = order.find((name) => have.every(({ runtimes }) => runtimes.has(name)));
    if (!able) throw new SkerryError('unavailable', `${devices.join(', ')} cannot be used under ${runtime}.`);
    return able;
  }

  #places(id: InstanceId): FakePlaces {
    const dir = join(this.#directory, 'i', id);
    const socketDir = join(dir, 's');
    return {
      dir,
      socketDir,
      root: join(dir, 'root'),
      etcDir: join(dir, 'etc'),
      socket: join(socketDir, 'agent.sock'),
      record: join(dir, 'instance.json'),
      mountTable: join(dir, 'fstab'),
      stands: join(dir, 'stands'),
      errors: join(dir, 'errors'),
    };
  }

  #running(id: InstanceId): FakeInstance {
    const instance = this.#instances.get(id);
    if (!instance?.running) throw ended(id);
    if (instance.joins !== undefined) {
      throw new SkerryError('conflict', `${id} shares the network of ${instance.joins}.`);
    }
    return instance;
  }

  #register(id: InstanceId, record: FakeRecord, listener: AgentListener, process: FakeProcess): FakeInstance {
    const instance = new FakeInstance({
      id,
      places: this.#places(id),
      record,
      listener,
      process,
      faults: this.faults,
      content: this.#content,
      capabilities: this.#capabilities,
      faultPoint: this.#faultPoint,
      copies: () => this.copies,
      endJoined: () => destroyJoined([...this.#instances.values(), ...this.#prepared.values()], id),
      onDestroyed: () => this.#instances.delete(id),
    });
    this.#instances.set(id, instance);
    return instance;
  }
}
