/** One running (or stopped) sandbox of the OCI engine. */
import { existsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceId } from '../../ids.ts';
import type { Network } from '../../network/network.ts';
import { CleanupScope } from '../../platform/cleanup.ts';
import type { FaultPoint } from '../../platform/fault-points.ts';
import { Limiter } from '../../platform/limiter.ts';
import type { MachineRoom } from '../../platform/machine-room.ts';
import { Phases } from '../../platform/phases.ts';
import { withinRoom } from '../../platform/room-watch.ts';
import { delay, unlessAborted } from '../../platform/wait.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type {
  CheckpointOptions,
  CommitOptions,
  Fifo,
  FillMount,
  Instance,
  InstanceExit,
  InstanceStats,
  Isolation,
  NetworkEvent,
  NetworkPolicy,
  RuntimeName,
} from '../engine.ts';
import { ended } from '../preparation.ts';
import type { CheckpointRef, ContentPlaces, LayerRef } from '../references.ts';
import { writeWhole } from '../whole-directory.ts';
import type { AgentListener } from './agent-listener.ts';
import type { Cgroups } from './cgroups.ts';
import { type CheckpointBuild, makeCheckpoint, requireWhole } from './checkpoints.ts';
import { watchForDeath } from './death-watch.ts';
import type { Disks } from './disks.ts';
import { showFifos } from './fifos.ts';
import type { InstanceLayout, Layout } from './layout.ts';
import { copyUpper, moveUpper } from './overlay.ts';
import { mountOwnPlainMemory, removeLeftPlainMemory } from './plain-memory.ts';
import { isAlive } from './process-identity.ts';
import { type InstanceRecord, leasesOf, writeRecord } from './record.ts';
import { haltInstance, removeInstanceFiles } from './residue.ts';
import type { OciRuntime } from './runtime.ts';
import { settleAll } from './settle-all.ts';
import { TreeMounts } from './tree-mounts.ts';
import type { TreeSource, Trees } from './trees.ts';
import type { MappedTrees } from './user-ids.ts';

export interface InstanceParts {
  readonly layout: Layout;
  readonly places: InstanceLayout;
  readonly runtime: OciRuntime;
  /** Destroys the instances that share its network, as far as that can be. */
  readonly endJoined: () => Promise<void>;
  /** Whether there are any. */
  readonly hasJoined: () => boolean;
  /** What it runs under, for its checkpoints. */
  readonly build: (pid: number) => Promise<CheckpointBuild>;
  /** What its memory is encrypted with wherever it is kept; undefined where it is kept in plain. */
  readonly memoryKey: Uint8Array | undefined;
  readonly cgroups: Cgroups;
  readonly network: Network;
  readonly listener: AgentListener;
  readonly record: InstanceRecord;
  readonly logger: Logger;
  readonly faultPoint: FaultPoint;
  readonly imageFifos: () => Promise<readonly string[]>;
  readonly content: ContentPlaces;
  readonly trees: Trees;
  readonly mappedTrees: MappedTrees;
  readonly disks: Disks;
  /** What copies of its files may fill. */
  readonly room: MachineRoom;
  /** Called once nothing of the instance is left. */
  readonly onDestroyed: () => void;
}

/** How often it is tried to resume one that is paused and should not be. */
const RESUME_PAUSE_MS = 500;

type Phase = 'running' | 'dead' | 'stopped' | 'destroyed';

export class OciInstance implements Instance {
  readonly id: InstanceId;
  readonly runtime: RuntimeName;
  readonly exited: Promise<InstanceExit>;
  readonly filesInMemory: boolean;
  readonly imageFifos: () => Promise<readonly string[]>;
  readonly #parts: InstanceParts;
  readonly #exit = Promise.withResolvers<InstanceExit>();
  /** Everything that changes the instance, one after the other: a destroy waits for a snapshot under way. */
  readonly #exclusive = new Limiter(1);
  /** Aborted by the first destroy: a copy under way is of no use any more. */
  readonly #leaving = new AbortController();
  readonly #detached = new AbortController();
  readonly #mounts: TreeMounts;
  #record: InstanceRecord;
  #phase: Phase = 'running';
  /** Its network slots that may have another user by now: a halt that is tried again must leave them alone. */
  readonly #released = new Set<number>();
  #watching = false;
  /** What it did on its network before that was released. */
  readonly #lastEvents: NetworkEvent[] = [];
  #destroying: Promise<void> | undefined;

  constructor(parts: InstanceParts) {
    this.#parts = parts;
    this.#record = parts.record;
    this.id = parts.places.id;
    this.runtime = parts.runtime.name;
    this.exited = this.#exit.promise;
    const { places, runtime, trees, mappedTrees, content, logger } = parts;
    this.#mounts = new TreeMounts({
      ...{ places, runtime, trees, mappedTrees, content, logger },
      // As any of its processes has it.
      users:
        parts.record.firstId === undefined ? undefined : { path: `/proc/${parts.record.init.pid}/ns/user` },
      init: parts.record.init.pid,
      mounted: parts.record.mounted ?? [],
      keep: (mounted) => this.#rewrite({ mounted: [...mounted] }),
    });
    this.filesInMemory = this.runtime === 'gvisor';
    this.imageFifos = parts.imageFifos;
    parts.listener.onLost(() => void this.#watch());
    if (!parts.listener.connected) void this.#watch();
  }

  get isolation(): Isolation {
    if (this.runtime === 'gvisor') return 'gvisor';
    return this.#record.firstId === undefined ? 'runc-shared-users' : 'runc';
  }

  get devices(): readonly string[] {
    return this.#record.devices ?? [];
  }

  get deviceEnvironment(): Readonly<Record<string, string>> {
    return this.#record.deviceEnvironment ?? {};
  }

  /** The instance whose network it shares. */
  get joins(): InstanceId | undefined {
    return this.#record.joins;
  }

  /** The network slot that another instance may share from now on. @throws SkerryError `sandbox-ended`, `conflict` */
  shareNetwork(): number {
    this.#requireRunning();
    return this.#ownSlot();
  }

  dial(signal: AbortSignal): Promise<Duplex> {
    return this.#parts.listener.dial(signal);
  }

  async stats(): Promise<InstanceStats> {
    const { cgroups, places, network } = this.#parts;
    const { slot } = this.#record;
    const [used, traffic] = await Promise.all([
      cgroups.stats(places.cgroup),
      slot === undefined ? undefined : network.traffic(slot),
    ]);
    return { ...used, ...(traffic && { traffic }) };
  }

  async wake(): Promise<void> {
    const { runtime, places } = this.#parts;
    await runtime.signal(places, 'CONT');
    if (runtime.name === 'gvisor') await runtime.signal(places, LOOK);
  }

  commit(layer: LayerRef, options: CommitOptions): Promise<void> {
    return this.#exclusive.run(async () => {
      const { places, content } = this.#parts;
      if (this.#phase === 'destroyed' || this.#destroying) throw ended(this.id);
      const directory = content.newLayer(layer);
      await this.#requireRoom();
      if (options.move) {
        if (this.#phase !== 'stopped') {
          throw new SkerryError(
            'conflict',
            `Sandbox ${this.id} must be stopped before its files can be moved.`,
          );
        }
        return this.#withinRoom((signal) => moveUpper(places.upper, directory, signal));
      }
      if (this.#phase !== 'running') {
        return this.#withinRoom((signal) => copyUpper(places.upper, directory, signal));
      }
      await this.#copyLive({ upper: places.upper, overlay: places.rootfs }, directory, options);
    });
  }

  commitDirectory(path: string, layer: LayerRef, options: Pick<CommitOptions, 'settle'>): Promise<void> {
    return this.#exclusive.run(async () => {
      this.#requireRunning();
      const source = await this.#mounts.at(path);
      await this.#copyLive(source, this.#parts.content.newLayer(layer), options);
    });
  }

  checkpoint(
    to: CheckpointRef,
    layer: LayerRef,
    { settle = async () => [], brief = false, stays = false }: CheckpointOptions,
  ): Promise<void> {
    return this.#exclusive.run(async () => {
      this.#requireRunning();
      const { places, content, runtime, build, trees, hasJoined, cgroups } = this.#parts;
      const { memoryKey } = this.#parts;
      const { signal } = this.#leaving;
      const of = await build(this.#record.init.pid);
      requireWhole(runtime.name, this.#record, of, hasJoined());
      const phases = new Phases();
      await unlessAborted(settle(), signal); // most of it is written before anything stands still
      phases.lap('settle');
      await this.#requireRoom((await this.stats()).memoryBytes);
      await this.#withinRoom(async (signal) => {
        await using plain = memoryKey ? await mountOwnPlainMemory(places, cgroups) : undefined;
        await makeCheckpoint(content.checkpoint(to), { build: of, brief }, async (files) => {
          const memory = plain?.directory ?? files.memory;
          await writeWhole(content.newLayer(layer), (directory) => {
            const still = async (take: () => Promise<void>) => {
              phases.lap('copy');
              await this.#paused([], stays ? TO_STAY : FOR_CHECKPOINT, async () => {
                phases.lap('pause');
                await runtime.checkpoint(places, memory, signal);
                phases.lap('memory');
                await settleAll([take(), files.keepEtc(places)]);
                phases.lap('files');
              });
              phases.lap('resume');
            };
            return trees.copy({ upper: places.upper, overlay: places.rootfs }, directory, still, signal);
          });
          if (plain && memoryKey) await files.sealMemory(plain.directory, memoryKey, signal);
        });
      }).catch(async (error: unknown) => {
        if (stays) await this.#resumeIfPaused().catch(() => {}); // it is tried again by itself
        throw error;
      });
      phases.lap('keep');
      this.#parts.logger.info({ instance: this.id, phases: phases.spent }, 'instance.checkpoint');
    });
  }

  resume(): Promise<void> {
    return this.#exclusive.run(() => {
      this.#requireRunning();
      return this.#resumeIfPaused();
    });
  }

  mount(path: string, layers: readonly LayerRef[], fill?: FillMount): Promise<void> {
    return this.#exclusive.run(() => {
      this.#requireRunning();
      return this.#mounts.mount(path, layers, (upper) => fill?.(upper, this.#leaving.signal));
    });
  }

  unmount(path: string): Promise<void> {
    return this.#exclusive.run(() => {
      this.#requireRunning();
      return this.#mounts.unmount(path);
    });
  }

  get mountedLayers(): readonly LayerRef[] {
    return this.#mounts.layers;
  }

  #requireRunning(): void {
    if (this.#phase !== 'running' || this.#destroying) throw ended(this.id);
  }

  async #copyLive(
    source: TreeSource,
    directory: string,
    { settle = async () => [] }: Pick<CommitOptions, 'settle'>,
  ): Promise<void> {
    // The agent answers for as long as a destroy waits for this.
    await this.#withinRoom((signal) =>
      writeWhole(directory, async (partial) => {
        await unlessAborted(settle(), signal); // most of it is written before anything is copied
        const still = async (take: () => Promise<void>) => {
          const fifos = await unlessAborted(settle(), signal);
          await this.#paused(fifos, FOR_COPY, take);
        };
        await this.#parts.trees.copy(source, partial, still, signal);
      }),
    );
  }

  /** Whether the machine has room for a copy of all that it wrote, and of so many bytes more. @throws SkerryError `disk-full` */
  async #requireRoom(more = 0): Promise<void> {
    const { disks, places, room } = this.#parts;
    const written = (await disks.written(places)) ?? 0; // where it is not known, the disk is watched all the same
    await room.require({ bytes: written + more, what: 'a copy of the sandbox' });
  }

  /** Copies; ended by a destroy, and before the machine's disk is full. @throws SkerryError `disk-full` */
  #withinRoom(copy: (signal: AbortSignal) => Promise<void>): Promise<void> {
    return withinRoom({ room: this.#parts.room, signal: this.#leaving.signal }, copy);
  }

  /** Has everything stand still for a moment, with the FIFOs to be seen that its kernel keeps to itself. */
  async #paused(fifos: readonly Fifo[], why: string, take: () => Promise<void>): Promise<void> {
    const { places, runtime } = this.#parts;
    await writeFile(pauseMarker(places), why);
    await using after = new CleanupScope(this.#parts.logger, { instance: this.id });
    // Also after a pause that failed: it may have happened half-way.
    let stays = false;
    after.add('pause', async () => {
      if (!stays) await this.#resumeNowOrLater();
    });
    await runtime.pause(places);
    await showFifos(places.rootfs, fifos, after);
    await take();
    stays = why === TO_STAY;
  }

  /** Makes good what an earlier server left half done: removes mounts nobody was told of, and goes on where it is paused, now or as soon as the runtime can. */
  async goOn(): Promise<void> {
    const { places, logger } = this.#parts;
    await settleAll([
      this.#mounts.removeUnfinished(),
      removeLeftPlainMemory(places, this.#parts.cgroups),
    ]).catch((err: unknown) => {
      logger.warn({ instance: this.id, err }, 'instance.mounts-left');
    });
    await this.#resumeIfPaused().catch((err: unknown) => {
      logger.warn({ instance: this.id, err }, 'instance.still-paused');
    });
  }

  /** @throws what keeps it from resuming now: it is tried again */
  async #resumeIfPaused(): Promise<void> {
    if (existsSync(pauseMarker(this.#parts.places))) await this.#resumeNowOrLater();
  }

  /** @throws what keeps it from resuming now */
  async #resumeNowOrLater(): Promise<void> {
    try {
      await this.#resume();
    } catch (error) {
      void this.#resumeLater();
      throw error;
    }
  }

  /** While the marker stays, the next server tries. @throws what keeps it from resuming, or from finding out whether it is paused */
  async #resume(): Promise<void> {
    const { runtime, places } = this.#parts;
    const why = await readFile(pauseMarker(places), 'utf8').catch(() => '');
    try {
      await runtime.resume(places);
    } catch (error) {
      if (await runtime.isPaused(places)) throw error;
    }
    if (why !== FOR_COPY) await runtime.signal(places, LOOK);
    await rm(pauseMarker(places), { force: true });
  }

  /** One that could not be resumed would stand still for good: the runtime's program may be missing just now. */
  async #resumeLater(): Promise<void> {
    const over = AbortSignal.any([this.#leaving.signal, this.#detached.signal]);
    const done = () => over.aborted || this.#phase !== 'running';
    while (!done()) {
      await delay(RESUME_PAUSE_MS, over).catch(() => {}); // looked at next
      try {
        await this.#exclusive.run(async () => (done() ? undefined : this.#resume()));
        return;
      } catch {
        // told by the first try
      }
    }
  }

  setNetworkPolicy(policy: NetworkPolicy): Promise<void> {
    return this.#exclusive.run(async () => {
      if (this.#phase !== 'running') throw ended(this.id);
      await this.#parts.network.setPolicy(this.#ownSlot(), policy);
      await this.#rewrite({ policy });
    });
  }

  get networkPolicy(): NetworkPolicy {
    return this.#record.policy;
  }

  async networkEvents(): Promise<readonly NetworkEvent[]> {
    const { slot } = this.#record;
    if (slot === undefined) return [];
    if (this.#phase === 'running') return this.#parts.network.events(slot);
    return this.#lastEvents.splice(0);
  }

  async #rewrite(change: Partial<InstanceRecord>): Promise<void> {
    this.#record = { ...this.#record, ...change };
    await writeRecord(this.#parts.places, this.#record);
  }

  stop(): Promise<void> {
    return this.#exclusive.run(() => this.#halt());
  }

  destroy(): Promise<void> {
    this.#leaving.abort(ended(this.id));
    this.#destroying ??= this.#exclusive.run(async () => {
      try {
        const { endJoined, places, disks, faultPoint } = this.#parts;
        await endJoined();
        await this.#halt();
        faultPoint('instance.destroy.after-halt');
        await removeInstanceFiles(places, disks);
        faultPoint('instance.destroy.after-files');
        this.#phase = 'destroyed';
        this.#parts.onDestroyed();
      } catch (error) {
        this.#destroying = undefined;
        throw error;
      }
    });
    return this.#destroying;
  }

  /** Lets go of the instance without harming it: its agent will dial the next server. */
  async detach(): Promise<void> {
    this.#detached.abort();
    await this.#parts.listener.close();
  }

  async #halt(): Promise<void> {
    if (this.#phase === 'stopped' || this.#phase === 'destroyed') return;
    const { layout, cgroups, places, network, listener, runtime } = this.#parts;
    const leases = leasesOf(this.#record).filter(({ slot }) => !this.#released.has(slot));
    this.#end({ reason: 'destroyed' });
    await settleAll([
      listener.close(),
      haltInstance(layout, cgroups, places, runtime.name === 'gvisor' ? runtime : undefined),
      ...leases.map(({ slot }) => this.#release(network, slot)),
    ]);
    this.#phase = 'stopped';
  }

  async #release(network: Network, slot: number): Promise<void> {
    this.#lastEvents.push(...(await network.lastEvents(slot)));
    await network.release(slot);
    this.#released.add(slot);
  }

  #ownSlot(): number {
    const { slot } = this.#record;
    if (slot === undefined) {
      throw new SkerryError('conflict', `${this.id} shares the network of ${this.joins}.`);
    }
    return slot;
  }

  #end(exit: InstanceExit): void {
    if (this.#phase === 'running') this.#phase = 'dead';
    this.#parts.listener.refuse(ended(this.id));
    this.#exit.resolve(exit);
  }

  /** The last connection closed: tells a dead instance from one whose agent dials anew. Never rejects. */
  async #watch(): Promise<void> {
    if (this.#watching) return;
    this.#watching = true;
    const { listener, cgroups, places, runtime } = this.#parts;
    const logger = this.#parts.logger.child({ instance: this.id, runtime: this.runtime });
    const died = await watchForDeath(
      {
        inDoubt: () => this.#phase === 'running' && !listener.connected,
        isUp: () => isUp(runtime, places, this.#record),
      },
      logger,
    );
    this.#watching = false;
    if (!died) return;
    const oomKills = await cgroups.oomKills(places.cgroup);
    logger.warn({ oomKills }, 'instance.died');
    this.#end(
      oomKills > 0
        ? { reason: 'out-of-memory' }
        : { reason: 'crashed', message: `The sandbox's init process under ${this.runtime} died.` },
    );
  }
}

/** Has the agent look at its connections (agent/PROTOCOL.md, "Checkpoints"). */
const LOOK = 'USR1';

/** Whether the instance's first process lives. In the kernel of another instance it has no number on the machine: then the runtime must tell. @throws what keeps it from finding out */
export async function isUp(
  runtime: OciRuntime,
  places: InstanceLayout,
  record: InstanceRecord,
): Promise<boolean> {
  if (!(await isAlive(record.init))) return false;
  return record.joins === undefined || runtime.name !== 'gvisor' || runtime.isRunning(places);
}

/** What for, in the file below. */
const FOR_COPY = '';
const FOR_CHECKPOINT = 'checkpoint';
const TO_STAY = 'suspend';

/** There while the instance is paused; a server killed meanwhile finds it and resumes. */
export const pauseMarker = (places: InstanceLayout): string => join(places.dir, 'paused');
