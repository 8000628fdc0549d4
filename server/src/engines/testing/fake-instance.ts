/** One instance of the fake engine, which can be made to crash, to run out of memory, and to lose its connections. */
import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import { AgentClient } from '../../agent/agent-client.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceId } from '../../ids.ts';
import { checkPolicy } from '../../network/policy.ts';
import type { FaultPoint } from '../../platform/fault-points.ts';
import { Limiter } from '../../platform/limiter.ts';
import { delay } from '../../platform/wait.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type {
  Capabilities,
  CheckpointOptions,
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
import type { AgentListener } from '../oci/agent-listener.ts';
import { ended } from '../preparation.ts';
import type { CheckpointRef, LayerRef } from '../references.ts';
import { type FakeContent, keepPrograms, placeOf } from './fake-checkpoint.ts';
import type { FakePlaces } from './fake-engine.ts';
import type { FakeIdentities, FakeProcess } from './fake-process.ts';
import { takeLayer } from './fake-root.ts';
import type { Faults } from './faults.ts';

/** How often an instance without any connection is looked at. */
const LOST_POLL_MS = 5;
const CHECKPOINT_TIMEOUT_MS = 60_000;

/** What is remembered of an instance for the next engine. */
export interface FakeRecord extends FakeIdentities {
  readonly runtime: RuntimeName;
  readonly joins?: InstanceId;
  readonly devices: readonly string[];
  readonly policy: NetworkPolicy;
}

interface Parts {
  readonly id: InstanceId;
  readonly places: FakePlaces;
  readonly record: FakeRecord;
  readonly listener: AgentListener;
  readonly process: FakeProcess;
  readonly faults: Faults;
  readonly content: FakeContent;
  readonly capabilities: Capabilities;
  readonly faultPoint: FaultPoint;
  readonly copies: () => MountCopies | undefined;
  readonly endJoined: () => Promise<void>;
  readonly onDestroyed: () => void;
}

export class FakeInstance implements Instance {
  readonly id: InstanceId;
  readonly runtime: RuntimeName;
  readonly joins: InstanceId | undefined;
  readonly devices: readonly string[];
  readonly deviceEnvironment: Readonly<Record<string, string>>;
  readonly exited: Promise<InstanceExit>;
  /** What it was told last that it is. */
  marks: Marks | undefined;
  readonly #parts: Parts;
  readonly #exit = Promise.withResolvers<InstanceExit>();
  readonly #exclusive = new Limiter(1);
  /** Connections that were handed out. */
  readonly #open = new Set<Duplex>();
  #phase: 'running' | 'dead' | 'stopped' | 'destroyed' = 'running';
  #policy: NetworkPolicy;
  #oomKills = 0;
  #watching = false;
  #destroying: Promise<void> | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.id = parts.id;
    this.runtime = parts.record.runtime;
    this.joins = parts.record.joins;
    this.#policy = parts.record.policy;
    this.devices = parts.record.devices;
    this.deviceEnvironment = this.devices.length === 0 ? {} : { FAKE_GPUS: this.devices.join(',') };
    this.exited = this.#exit.promise;
    parts.listener.onLost(() => void this.#watch());
    if (!parts.listener.connected) void this.#watch();
  }

  get running(): boolean {
    return this.#phase === 'running' && !this.#destroying;
  }

  get process(): FakeProcess {
    return this.#parts.process;
  }

  /** Where its files are on this machine. */
  get root(): string {
    return this.#parts.places.root;
  }

  get copies(): MountCopies | undefined {
    return this.#parts.copies();
  }

  get networkPolicy(): NetworkPolicy {
    return this.#policy;
  }

  async dial(signal: AbortSignal): Promise<Duplex> {
    await this.#parts.faults.pass('dial', this.id, signal);
    const connection = await this.#parts.listener.dial(signal);
    const { greeting } = this.#parts.faults;
    if (greeting !== undefined) await replaceHello(connection, greeting);
    this.#open.add(connection);
    connection.once('close', () => this.#open.delete(connection));
    return connection;
  }

  async stats(): Promise<InstanceStats> {
    return { ...(await this.#parts.process.stats()), oomKills: this.#oomKills };
  }

  get isolation(): Isolation {
    return this.runtime;
  }

  async wake(): Promise<void> {
    await this.#parts.faults.pass('wake', this.id);
    await this.#parts.process.wake();
  }

  readonly mountedLayers: readonly LayerRef[] = [];

  async mount(): Promise<void> {
    throw unable('have images mounted while it runs');
  }

  async unmount(): Promise<void> {
    throw unable('have images unmounted while it runs');
  }

  checkpoint(to: CheckpointRef, layer: LayerRef, { stays = false }: CheckpointOptions): Promise<void> {
    return this.#exclusive.run(async () => {
      const { capabilities, faults, places, content, process, faultPoint } = this.#parts;
      if (!capabilities.checkpoints) throw unable('have its memory kept');
      await faults.pass('checkpoint', this.id);
      if (!this.running) throw ended(this.id);
      const agent = new AgentClient((abort) => this.dial(abort), createLogger('silent'));
      const listed = await agent.list(AbortSignal.timeout(CHECKPOINT_TIMEOUT_MS));
      await takeLayer(places.root, content.newLayer(layer), false);
      await keepPrograms(placeOf(content, to), await process.programs(listed));
      faultPoint('instance.checkpoint.after-files');
      if (!stays) return;
      await writeFile(places.stands, '');
      await process.silence();
    });
  }

  /** Also what an earlier engine had stand still. */
  async resume(): Promise<void> {
    const { stands } = this.#parts.places;
    if (!existsSync(stands)) return;
    await this.#parts.process.wake();
    await rm(stands);
  }

  async commitDirectory(): Promise<void> {
    throw unable('give a directory away');
  }

  commit(layer: LayerRef, { move }: { readonly move: boolean }): Promise<void> {
    return this.#exclusive.run(async () => {
      if (!this.#parts.capabilities.commit) throw unable('give its files away');
      await this.#parts.faults.pass('commit', this.id);
      if (this.#phase === 'destroyed') throw ended(this.id);
      if (move && this.#phase !== 'stopped') {
        throw new SkerryError(
          'conflict',
          `Sandbox ${this.id} must be stopped before its files can be moved.`,
        );
      }
      const directory = this.#parts.content.newLayer(layer);
      await takeLayer(this.#parts.places.root, directory, move);
      // A copy that nobody will use: the real engine breaks it off.
      if (this.#destroying) {
        await rm(directory, { recursive: true, force: true });
        throw ended(this.id);
      }
    });
  }

  async setNetworkPolicy(policy: NetworkPolicy): Promise<void> {
    if (!this.#parts.capabilities.networkPolicy) throw unable('be given another network policy');
    if (this.#phase !== 'running') throw ended(this.id);
    if (this.joins !== undefined) {
      throw new SkerryError('conflict', `${this.id} shares the network of ${this.joins}.`);
    }
    checkPolicy(policy);
    this.#policy = policy;
  }

  /** There is no network that it could do anything on. */
  async mark(marks: Marks): Promise<void> {
    await this.#parts.faults.pass('mark', this.id);
    this.marks = marks;
  }

  async networkEvents(): Promise<readonly NetworkEvent[]> {
    return [];
  }

  stop(): Promise<void> {
    return this.#exclusive.run(async () => {
      await this.#parts.faults.pass('stop', this.id);
      await this.#halt();
    });
  }

  destroy(): Promise<void> {
    this.#destroying ??= this.#exclusive.run(async () => {
      try {
        await this.#parts.faults.pass('destroy', this.id);
        await this.#parts.endJoined();
        await this.#halt();
        this.#parts.faultPoint('instance.destroy.after-halt');
        await rm(this.#parts.places.dir, { recursive: true, force: true });
        this.#parts.faultPoint('instance.destroy.after-files');
        this.#phase = 'destroyed';
        this.#parts.onDestroyed();
      } catch (error) {
        this.#destroying = undefined;
        throw error;
      }
    });
    return this.#destroying;
  }

  detach(): Promise<void> {
    return this.#parts.listener.close();
  }

  /** The first process dies, and all with it. */
  async crash(): Promise<void> {
    await this.#parts.process.crash();
  }

  /** The kernel kills one of its processes for memory, as the instance's count tells; which one is the test's to say. */
  countOomKill(): void {
    this.#oomKills++;
  }

  /** It has no memory left for its first process. */
  async runOutOfMemory(): Promise<void> {
    this.countOomKill();
    await this.crash();
  }

  /** Connections that were handed out and are open. */
  get openConnections(): number {
    return this.#open.size;
  }

  /** Breaks every connection that was handed out; the agent dials again. */
  cutConnections(): void {
    for (const connection of this.#open) connection.destroy();
  }

  /** What is sent to the agent from now on stays here, and is lost when the connections are cut. */
  holdBackSent(): void {
    for (const connection of this.#open) connection.cork();
  }

  /** Bytes that are held back. */
  get heldBack(): number {
    return [...this.#open].reduce((sum, connection) => sum + connection.writableLength, 0);
  }

  async #halt(): Promise<void> {
    if (this.#phase === 'stopped' || this.#phase === 'destroyed') return;
    this.#end({ reason: 'destroyed' });
    await Promise.all([this.#parts.listener.close(), this.#parts.process.kill()]);
    this.#phase = 'stopped';
  }

  #end(exit: InstanceExit): void {
    if (this.#phase === 'running') this.#phase = 'dead';
    this.#parts.listener.refuse(ended(this.id));
    this.#exit.resolve(exit);
  }

  /** The last connection closed: tells a dead instance from one whose agent dials anew. */
  async #watch(): Promise<void> {
    if (this.#watching) return;
    this.#watching = true;
    try {
      while (this.#phase === 'running' && !this.#parts.listener.connected) {
        if (!(await this.#parts.process.alive())) {
          return this.#end(
            this.#oomKills > 0
              ? { reason: 'out-of-memory' }
              : { reason: 'crashed', message: 'The first process of the fake sandbox died.' },
          );
        }
        await delay(LOST_POLL_MS);
      }
    } finally {
      this.#watching = false;
    }
  }
}

/** What is refused that a test's capabilities leave out. */
export const unable = (what: string): SkerryError =>
  new SkerryError('unimplemented', `An instance of this engine cannot ${what}.`);

/** Takes the first frame of a paused connection away and puts another HELLO in its place, unless the connection breaks before. */
function replaceHello(connection: Duplex, json: string): Promise<void> {
  return new Promise((resolve) => {
    let bytes = Buffer.alloc(0);
    const onData = (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      if (bytes.length < 5 || bytes.length < 5 + bytes.readUInt32LE(1)) return;
      connection.off('data', onData).pause();
      const rest = bytes.subarray(5 + bytes.readUInt32LE(1));
      const header = Buffer.from(bytes.subarray(0, 5));
      header.writeUInt32LE(json.length, 1);
      connection.unshift(Buffer.concat([header, Buffer.from(json), rest]));
      resolve();
    };
    connection.once('close', resolve).on('data', onData).resume();
  });
}
