/**
 * The volumes of running sandboxes. A sandbox has a working tree of each of its volumes, under as many names as it asks for; what it writes there becomes
 * versions while it runs and when it ends, however it ends: what a tree holds is on disk, and a row says whose it is.
 *
 * Whoever looks at a volume from outside (`settle`) has a version made of what its sandboxes wrote up to then. So nobody need be told that a program synced its
 * files, and nothing that a program wrote before somebody looked is missed.
 */
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { DiskSize, KeptDisks, MountCopies } from '../engines/engine.ts';
import type { VolumeRef } from '../engines/references.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { newVolumeMountId, type TaskId, type VolumeId, type VolumeMountId } from '../ids.ts';
import { fromBytes } from '../platform/byte-paths.ts';
import { type FaultPoint, noFaultPoint } from '../platform/fault-points.ts';
import { mountsBelow } from '../platform/mounts.ts';
import { OnePerKey } from '../platform/one-per-key.ts';
import { withDeadline } from '../platform/wait.ts';
import type { Logger } from '../telemetry/logger.ts';
import { MountedVolume } from './mounted-volume.ts';
import { parseVolumePath } from './paths.ts';
import type { VolumeMountRepository, VolumeMountRow } from './repositories.ts';
import type { LayeredVolumeFiles } from './volume-files.ts';
import { type AttachedVolume, checkVolumeMounts, type VolumeMountSpec } from './volume-mount-specs.ts';
import { type TreePlaces, WorkingTree } from './working-tree.ts';

export interface VolumeMountsOptions {
  /** On disk, of their own. */
  readonly directory: string;
  /** Where working trees are seen: gone after a reboot, and nobody else's business (`platform/mounts.ts`). */
  readonly mountDir: string;
  readonly files: LayeredVolumeFiles;
  readonly rows: VolumeMountRepository;
  /** What bounds what a sandbox writes in a volume: a disk for each tree. Undefined: only the machine does. */
  readonly disks?: { readonly kept: KeptDisks; readonly size: DiskSize } | undefined;
  /** The program of `trees/`, which shows trees with other ids. */
  readonly treesBinary: string;
  readonly logger: Logger;
  /** For tests that end the server at a chosen moment. */
  readonly faultPoint?: FaultPoint;
}

/** For all that a sandbox that ends wrote, and nobody has brought here yet: it does not end before. */
const LAST_WRITES_MS = 10 * 60_000;
/** Between two looks in the background so many times as long passes as the first one took. */
const REST_FACTOR = 10;
/** A look in the background that takes longer goes on by itself: a sandbox that does not answer keeps none from those after it. */
const PATIENCE_MS = 1_000;

export class VolumeMounts {
  readonly #options: VolumeMountsOptions;
  readonly #faultPoint: FaultPoint;
  readonly #turns = new OnePerKey<VolumeMountId>();
  readonly #underWay = new Set<Promise<unknown>>();
  /** Looks that wait for their turn: whoever asks before one begins has what it finds. */
  readonly #waiting = new Map<VolumeMountId, Promise<void>>();
  readonly #closing = new AbortController();
  /** Of sandboxes that are elsewhere: what they write has to be brought here, and what comes here to them. */
  readonly #copies = new Map<TaskId, MountCopies>();
  /** Trees of sandboxes that ended, whose writes are not a version yet; `still`: nothing of theirs runs any more. */
  readonly #left = new Map<VolumeMountId, { readonly still: boolean }>();
  /** Until when, in the time of `performance.now()`, the background leaves a tree alone. */
  readonly #restUntil = new Map<VolumeMountId, number>();
  /** Looks of the background that are under way. */
  readonly #sweeping = new Map<VolumeMountId, Promise<void>>();

  constructor(options: VolumeMountsOptions) {
    this.#options = options;
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    this.#faultPoint = options.faultPoint ?? noFaultPoint;
  }

  /** @throws SkerryError `not-found` for a volume that is not there, `invalid-argument` for what cannot be mounted so */
  check(specs: readonly VolumeMountSpec[]): void {
    checkVolumeMounts(specs);
    for (const { volumeId } of specs) this.#options.files.version(volumeId);
  }

  /**
   * Makes the working trees of a sandbox that is about to start. On failure nothing is left.
   * @param firstId what id 0 of its users is on the machine, and the 65,535 after it; undefined: they are the machine's
   * @throws SkerryError `not-found` for a volume, `invalid-argument` for a sub-path
   */
  async attach(
    taskId: TaskId,
    specs: readonly VolumeMountSpec[],
    firstId?: number,
  ): Promise<readonly AttachedVolume[]> {
    const rows = new Map<VolumeId, VolumeMountRow>();
    try {
      for (const { volumeId } of specs) {
        if (rows.has(volumeId)) continue;
        await this.settle(volumeId);
        const { layers } = this.#options.files.version(volumeId);
        const writable = specs.some((spec) => spec.volumeId === volumeId && !spec.readOnly);
        const row = {
          id: newVolumeMountId(),
          taskId,
          volumeId,
          writable,
          base: layers,
          shown: layers,
          reloading: undefined,
          firstId,
        };
        this.#options.rows.insert(row);
        rows.set(volumeId, row);
        // Begun in the same moment: whoever finds the row waits for the tree.
        await this.#turn(row.id, async () => {
          this.#faultPoint('volume.attach.after-row');
          const { disks } = this.#options;
          if (writable && disks?.kept.work) await disks.kept.make(row.id, disks.size);
          this.#faultPoint('volume.attach.after-disk');
          await this.#mounted(row).tree.mount();
          this.#faultPoint('volume.attach.after-mount');
        });
      }
      const attached: AttachedVolume[] = [];
      for (const { volumeId, target, readOnly, subPath } of specs) {
        const row = rows.get(volumeId);
        if (!row) continue; // each has one
        const names = parseVolumePath(subPath);
        await this.#mounted(row).tree.makeDirectories(names);
        const source: VolumeRef = { kind: 'volume', tree: row.id, path: fromBytes(names.join('/')) };
        attached.push({ source, target, readOnly });
      }
      // What is mounted in another comes after it.
      return attached.sort((a, b) => a.target.length - b.target.length);
    } catch (error) {
      await this.#leave([...rows.values()], true);
      throw error;
    }
  }

  /** A sandbox has copies of its trees, until they are detached: what it writes is brought here before anybody looks. Where they are not seen any more, they are again. */
  async follow(taskId: TaskId, copies: MountCopies): Promise<void> {
    this.#copies.set(taskId, copies);
    const rows = this.#options.rows.ofTask(taskId);
    // All in the same moment: whoever looks waits.
    await Promise.all(rows.map((row) => this.#turn(row.id, () => this.#show(row))));
  }

  /**
   * What a sandbox that has copies wrote comes here, for the last time: it is about to go. While the server is shutting down this never settles, since the next one
   * is to do it.
   * @throws SkerryError what kept some of it from that, which is lost
   */
  async bringLast(taskId: TaskId): Promise<void> {
    if (this.#closing.signal.aborted) return new Promise(() => {});
    const copies = this.#copies.get(taskId);
    const limit = AbortSignal.any([AbortSignal.timeout(LAST_WRITES_MS), this.#closing.signal]);
    const rows = this.#options.rows.ofTask(taskId).filter(({ writable }) => writable);
    const brought = rows.map(({ id }) => this.#turn(id, async () => copies?.collect(id, limit)));
    const outcomes = await Promise.allSettled(brought);
    if (this.#closing.signal.aborted && outcomes.some(({ status }) => status === 'rejected'))
      return new Promise(() => {});
    this.#copies.delete(taskId);
    await Promise.all(brought);
  }

  /**
   * Makes a version of what every sandbox wrote in a volume up to now. What cannot be one is told to the log, and tried again: it is no fault of who asks for
   * something else.
   */
  async settle(volumeId: VolumeId): Promise<void> {
    await Promise.all(this.#options.rows.ofVolume(volumeId).map((row) => this.#tryToLook(row)));
  }

  /** The same of every volume. */
  async settleAll(): Promise<void> {
    for (const row of this.#options.rows.all()) await this.#tryToLook(row);
  }

  /** As `settle`, for who asks for nothing else. @throws SkerryError `not-found`, `volume-full`, `disk-full` */
  async commit(volumeId: VolumeId): Promise<void> {
    this.#options.files.version(volumeId);
    for (const row of this.#options.rows.ofVolume(volumeId)) await this.#look(row);
  }

  /** Shows a sandbox the newest version of its volumes, its own writes included. @throws SkerryError `volume-full`, `disk-full` */
  async reload(taskId: TaskId): Promise<void> {
    for (const { id, volumeId } of this.#options.rows.ofTask(taskId)) {
      await this.settle(volumeId);
      await this.#turn(id, async () => {
        const row = this.#options.rows.get(id);
        if (!row || this.#left.has(id)) return;
        await this.#collect(row);
        await this.#mounted(row).commit({ still: false, busy: 'take' });
        // The commit may have finished an earlier reload.
        const current = this.#options.rows.get(id);
        if (current) await this.#mounted(current).reload();
        await this.#copies.get(taskId)?.deliver(id, this.#closing.signal);
      });
    }
  }

  /**
   * After the end of a sandbox: makes a version of what it wrote and removes its trees. What cannot be done now is tried again by `sweep`.
   * @param still nothing of the sandbox runs any more
   */
  async detach(taskId: TaskId, still: boolean): Promise<void> {
    this.#copies.delete(taskId);
    await this.#leave(this.#options.rows.ofTask(taskId), still);
  }

  /** After a start: what sandboxes wrote that did not live to its end becomes versions now, or when somebody asks for them. @param live those that go on */
  async recover(live: ReadonlySet<TaskId>): Promise<void> {
    // Before the rows: whoever has a disk has a row already.
    const disks = (await this.#options.disks?.kept.names()) ?? [];
    const rows = this.#options.rows.all();
    const known = new Set<string>(rows.map(({ id }) => id));
    const there = new Set([...readdirSync(this.#options.directory), ...disks]);
    const orphans = [...there].filter((name) => !known.has(name));
    const dead = rows.filter(({ taskId }) => !live.has(taskId));
    const finished = this.#leave(dead, true);
    await this.#removeOrphans(orphans as VolumeMountId[]); // made here only
    await finished;
  }

  /** Makes versions of what running sandboxes wrote, and of what could not be one before; called on a timer. */
  async sweep(): Promise<void> {
    for (const row of this.#options.rows.all()) {
      if (this.#sweeping.has(row.id) || performance.now() < (this.#restUntil.get(row.id) ?? 0)) continue;
      const look = this.#lookLater(row).finally(() => this.#sweeping.delete(row.id));
      this.#sweeping.set(row.id, look);
      await withDeadline(look, PATIENCE_MS);
    }
    const there = new Set(this.#options.rows.all().map(({ id }) => id));
    for (const id of this.#restUntil.keys()) if (!there.has(id)) this.#restUntil.delete(id);
  }

  /** In the background. Never rejects. */
  async #lookLater(row: VolumeMountRow): Promise<void> {
    const begun = performance.now();
    try {
      await this.#turn(row.id, () => this.#settleOne(row.id, 'leave'));
    } catch (error) {
      this.#tellNotCommitted(row, error);
    }
    const ended = performance.now();
    this.#restUntil.set(row.id, ended + (ended - begun) * REST_FACTOR);
  }

  /** Waits for what is under way. What is asked for from now on is the next server's. */
  async close(): Promise<void> {
    this.#closing.abort(new SkerryError('unavailable', 'The server is shutting down.'));
    await Promise.allSettled([...this.#underWay]);
  }

  /** Whatever is done with a tree is done here, one thing after the other. */
  async #turn(id: VolumeMountId, work: () => Promise<void>): Promise<void> {
    const turn = this.#turns.run(id, async () => {
      this.#closing.signal.throwIfAborted();
      await work();
    });
    this.#underWay.add(turn);
    await turn.finally(() => this.#underWay.delete(turn));
  }

  #look({ id }: VolumeMountRow): Promise<void> {
    const waiting = this.#waiting.get(id);
    if (waiting) return waiting;
    const look = this.#turn(id, () => {
      this.#waiting.delete(id);
      return this.#settleOne(id, 'take');
    });
    this.#waiting.set(id, look);
    return look;
  }

  async #settleOne(id: VolumeMountId, busy: 'take' | 'leave'): Promise<void> {
    const row = this.#options.rows.get(id);
    if (!row) return;
    const left = this.#left.get(id);
    if (left) await this.#finish(row, left.still);
    else {
      await this.#collect(row);
      await this.#mounted(row).commit({ still: false, busy });
    }
  }

  /** Where its sandbox has a copy, what that wrote comes here. */
  async #collect({ id, taskId, writable }: VolumeMountRow): Promise<void> {
    const copies = writable ? this.#copies.get(taskId) : undefined;
    try {
      await copies?.collect(id, this.#closing.signal);
    } catch (error) {
      // Whoever has it end sees to what is left of it.
      if (!(error instanceof SkerryError && error.code === 'sandbox-ended')) throw error;
    }
  }

  /** Where it is not seen any more, it is again. */
  async #show(row: VolumeMountRow): Promise<void> {
    const { mountDir, disks } = this.#options;
    if (disks?.kept.has(row.id)) await disks.kept.open(row.id);
    const isSeen = (await mountsBelow(mountDir)).includes(join(mountDir, row.id));
    if (!isSeen) await this.#mounted(row).tree.mount();
  }

  /** Never rejects: what could not be done is told, and tried again by whoever looks next. */
  async #tryToLook(row: VolumeMountRow): Promise<void> {
    await this.#look(row).catch((err: unknown) => this.#tellNotCommitted(row, err));
  }

  /** Their sandbox is over: from this moment on whoever looks finishes them, and this does at once. Never rejects. */
  async #leave(rows: readonly VolumeMountRow[], still: boolean): Promise<void> {
    for (const { id } of rows) this.#left.set(id, { still });
    for (const row of rows) await this.#tryToLook(row);
  }

  async #finish(row: VolumeMountRow, still: boolean): Promise<void> {
    const { rows, logger } = this.#options;
    // After a reboot it has to be seen again, to be read; and in an overlay that was never mounted nothing was written.
    await this.#show({ ...row, firstId: undefined });
    const mounted = this.#mounted(row);
    await mounted.commit({ still, busy: 'take' });
    this.#faultPoint('volume.detach.after-commit');
    // In the same moment: what is in a version must not come into a later one once more.
    rows.delete(row.id);
    this.#left.delete(row.id);
    this.#faultPoint('volume.detach.after-row');
    await this.#removeTree(row.id, mounted.tree).catch((err: unknown) => {
      logger.error({ mount: row.id, err }, 'volume.tree-left'); // the next start removes it
    });
  }

  async #removeTree(id: VolumeMountId, tree: Pick<WorkingTree, 'unmount' | 'remove'>): Promise<void> {
    await tree.unmount();
    this.#faultPoint('volume.detach.after-unmount');
    await this.#options.disks?.kept.remove(id);
    await tree.remove();
    this.#options.logger.debug({ mount: id }, 'volume.tree-removed');
  }

  /** Trees that have no row any more: an earlier server made versions of what was in them, and could not remove them. */
  async #removeOrphans(ids: readonly VolumeMountId[]): Promise<void> {
    for (const id of ids) {
      await this.#removeTree(id, new WorkingTree(this.#places(id), [])).catch((err: unknown) => {
        this.#options.logger.error({ mount: id, err }, 'volume.tree-left');
      });
    }
  }

  #mounted(row: VolumeMountRow): MountedVolume {
    const { files, rows, treesBinary } = this.#options;
    return new MountedVolume(
      { files, rows, treesBinary, places: this.#places(row.id), faultPoint: this.#faultPoint },
      row,
    );
  }

  #places(id: VolumeMountId): TreePlaces {
    const { directory, mountDir, disks } = this.#options;
    const own = join(directory, id);
    const written = disks?.kept.has(id) ? disks.kept.at(id) : own;
    return { directory: own, written, target: join(mountDir, id) };
  }

  #tellNotCommitted({ id: mount, volumeId: volume, taskId: task }: VolumeMountRow, err: unknown): void {
    this.#options.logger.error({ mount, volume, task, err }, 'volume.not-committed');
  }
}
