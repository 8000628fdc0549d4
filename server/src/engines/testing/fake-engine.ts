/**
 * An engine for tests: an instance is the real agent with a copy of its image for a root filesystem, in namespaces of its own. It starts in
 * milliseconds, needs no runtime, and fails where a test wants it to. It keeps nobody in: there are no limits, and no network beyond the loopback.
 *
 * Instances outlive the engine object, and its process: another engine over the same directory adopts them.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import { type InstanceId, isInstanceId } from '../../ids.ts';
import { parseAllowlist } from '../../network/policy.ts';
import { Cleanup } from '../../platform/cleanup.ts';
import { withDeadline } from '../../platform/wait.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type {
  Engine,
  EngineCheck,
  Instance,
  InstanceSpec,
  NetworkPolicy,
  RuntimeChoice,
  RuntimeName,
} from '../engine.ts';
import { AgentListener } from '../oci/agent-listener.ts';
import { placeMounts } from '../oci/mounts.ts';
import { isAlive } from '../oci/process-identity.ts';
import { Reaper } from '../oci/reaper.ts';
import { prepareAgent } from '../oci/shared-files.ts';
import type { ContentPlaces } from '../references.ts';
import { FakeInstance, type FakeRecord, goneError } from './fake-instance.ts';
import { FakeProcess } from './fake-process.ts';
import { copyLayers, mountTable, namesIn } from './fake-root.ts';
import { Faults } from './faults.ts';

const START_TIMEOUT_MS = 60_000;
const REAPER_PAUSE_MS = 2;

/** Where the parts of one instance are. */
export interface FakePlaces {
  readonly dir: string;
  readonly root: string;
  readonly etcDir: string;
  readonly socketDir: string;
  readonly socket: string;
  readonly record: string;
  readonly mountTable: string;
  readonly errors: string;
}

export class FakeEngine implements Engine {
  readonly name = 'fake';
  /** What is to go wrong. */
  readonly faults = new Faults();
  readonly #directory: string;
  readonly #binDir: string;
  readonly #agentBinaryPath: string;
  readonly #content: ContentPlaces;
  readonly #usual: RuntimeName;
  readonly #instances = new Map<InstanceId, FakeInstance>();
  readonly #starting = new Set<InstanceId>();
  readonly #reaper = new Reaper(createLogger('silent'), REAPER_PAUSE_MS);

  /**
   * @param directory may hold what an earlier engine left; short, since sockets lie in it
   * @param content where layers and mounts are
   * @param usual what an instance says it runs on whose creator leaves that open
   */
  constructor(
    directory: string,
    agentBinaryPath: string,
    content: ContentPlaces,
    usual: RuntimeName = 'runc',
  ) {
    this.#directory = directory;
    this.#content = content;
    this.#binDir = join(directory, 'bin');
    this.#agentBinaryPath = agentBinaryPath;
    this.#usual = usual;
  }

  /** Instances that were not destroyed. */
  get instances(): ReadonlyMap<InstanceId, FakeInstance> {
    return this.#instances;
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

  async create(spec: InstanceSpec, signal: AbortSignal): Promise<Instance> {
    signal.throwIfAborted();
    if (this.#instances.has(spec.id) || this.#starting.has(spec.id)) {
      throw new SkerryError('already-exists', `The instance ${spec.id} exists already.`);
    }
    const mounts = placeMounts(spec.mounts, this.#content);
    const layers = spec.layers.map((layer) => this.#content.layer(layer));
    if (!/^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$/.test(spec.hostname)) {
      throw new SkerryError('invalid-argument', `"${spec.hostname}" is not a hostname.`);
    }
    checkPolicy(spec.network);
    const owner = spec.joins === undefined ? undefined : this.#running(spec.joins);
    const places = this.#places(spec.id);
    this.#starting.add(spec.id);
    const undo = new Cleanup();
    try {
      await this.faults.pass('create', spec.id, signal);
      undo.add('files', () => rm(places.dir, { recursive: true, force: true }));
      await mkdir(places.socketDir, { recursive: true, mode: 0o700 });
      await copyLayers(places.root, layers);
      const table = await mountTable({ ...places, binDir: this.#binDir }, spec.hostname, mounts);
      await writeFile(places.mountTable, table);
      signal.throwIfAborted();
      const listener = new AgentListener(places.socket);
      undo.add('listener', () => listener.close());
      await listener.listen();
      const process = await FakeProcess.start(places, spec.hostname, owner?.process);
      undo.add('process', () => process.kill());
      const record = {
        runtime: owner?.runtime ?? this.runtimeFor(spec.runtime),
        ...(owner && { joins: owner.id }),
      } as const;
      await this.#awaitAgent(listener, process, places, signal);
      await writeFile(`${places.record}.new`, JSON.stringify({ ...record, ...(await process.identities()) }));
      await rename(`${places.record}.new`, places.record);
      await this.faults.pass('created', spec.id, signal);
      signal.throwIfAborted();
      if (owner && !owner.running) throw goneError(owner.id);
      return this.#register(spec.id, { ...record, ...(await process.identities()) }, listener, process);
    } catch (error) {
      await undo.run().catch(() => this.#reaper.retry(spec.id, () => undo.run()));
      throw error;
    } finally {
      this.#starting.delete(spec.id);
    }
  }

  async adopt(ids: ReadonlySet<InstanceId>): Promise<ReadonlyMap<InstanceId, Instance>> {
    await this.faults.pass('adopt', undefined);
    const adopted = new Map<InstanceId, Instance>();
    for (const id of await namesIn(join(this.#directory, 'i'))) {
      if (!isInstanceId(id) || this.#instances.has(id) || this.#starting.has(id)) continue;
      const places = this.#places(id);
      const text = await readFile(places.record, 'utf8').catch(() => undefined);
      // Written by `create` and by nothing else.
      const record = text === undefined ? undefined : (JSON.parse(text) as FakeRecord);
      if (record && ids.has(id) && (await isAlive(record.init))) {
        const listener = new AgentListener(places.socket);
        await listener.listen();
        adopted.set(id, this.#register(id, record, listener, FakeProcess.adopt(places.dir, record)));
      } else {
        await FakeProcess.adopt(places.dir, record).kill();
        await rm(places.dir, { recursive: true, force: true });
      }
    }
    return adopted;
  }

  async close(): Promise<void> {
    await this.#reaper.close();
    await Promise.all([...this.#instances.values()].map((instance) => instance.detach()));
    this.#instances.clear();
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
      errors: join(dir, 'errors'),
    };
  }

  #running(id: InstanceId): FakeInstance {
    const instance = this.#instances.get(id);
    if (!instance?.running) throw goneError(id);
    if (instance.joins !== undefined) {
      throw new SkerryError('conflict', `${id} shares the network of ${instance.joins}.`);
    }
    return instance;
  }

  #register(id: InstanceId, record: FakeRecord, listener: AgentListener, process: FakeProcess): FakeInstance {
    const instance: FakeInstance = new FakeInstance({
      id,
      places: this.#places(id),
      record,
      listener,
      process,
      faults: this.faults,
      content: this.#content,
      joined: () => [...this.#instances.values()].filter(({ joins }) => joins === id),
      onLeft: () => this.#reaper.retry(id, () => instance.destroy()),
      onDestroyed: () => this.#instances.delete(id),
    });
    this.#instances.set(id, instance);
    return instance;
  }

  async #awaitAgent(
    listener: AgentListener,
    process: FakeProcess,
    places: FakePlaces,
    signal: AbortSignal,
  ): Promise<void> {
    const up = Promise.race([listener.connection.then(() => 'up'), process.exited.then(() => 'died')]);
    const outcome = await withDeadline(up, START_TIMEOUT_MS, signal);
    if (outcome === 'up') return;
    const errors = await readFile(places.errors, 'utf8').catch(() => '');
    throw new SkerryError(
      'internal',
      `The sandbox ${outcome ?? 'did not connect'} while it started: ${errors}`,
    );
  }
}

/** @throws SkerryError `invalid-argument` */
export function checkPolicy(policy: NetworkPolicy): void {
  if (policy.kind === 'allowlist') parseAllowlist(policy.cidrs);
}
