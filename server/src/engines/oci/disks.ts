/**
 * The disks of instances. Each has one of its own for all that it can write, mounted in the run directory; its directory of the data directory is a link to there. Which disk is
 * whose is told by that link alone, so whatever a killed server left is found: what no link leads to is nobody's.
 */
import { randomBytes } from 'node:crypto';
import { readdir, readlink, rm, statfs, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SkerryError, toSkerryError } from '../../errors/skerry-error.ts';
import { findProgram } from '../../platform/find-program.ts';
import { ReadyPool } from '../../platform/ready-pool.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { DiskSize } from '../engine.ts';
import { type DiskPlaces, dropDisk, makeDisk } from './disk-image.ts';
import { DiskTap } from './disk-room.ts';
import type { InstanceLayout, Layout } from './layout.ts';
import type { SharedRoom } from './shared-room.ts';

export interface DisksParts {
  readonly layout: Layout;
  readonly treesBinary: string;
  /** The size of those made ahead; undefined: none are. */
  readonly usual: DiskSize | undefined;
  /** How many of them are kept ready. */
  readonly poolSize: number;
  /** Whether somebody's start is under way: then none are made ahead. */
  readonly isStarting: () => boolean;
  /** What they share with others. */
  readonly room: SharedRoom;
  readonly logger: Logger;
}

type DiskId = string & { readonly __brand: 'DiskId' };

const newDiskId = (): DiskId => randomBytes(8).toString('hex') as DiskId; // made here only
const isDiskId = (name: string): name is DiskId => /^[0-9a-f]{16}$/.test(name);

/** A refill waits this long, so that it does not compete with the start that took one. */
const REFILL_DELAY_MS = 100;
/** So much every disk can take in the beginning: less would not be enough to start in. */
const LEAST_BYTES = 4 * 2 ** 20;
/** To see whether one can be made. */
const TRIAL: DiskSize = { sizeMiB: 16, files: 64 };

export class Disks {
  readonly #parts: DisksParts;
  readonly #ready: ReadyPool<DiskId>;
  /** Those this server makes or has: no residue. */
  readonly #own = new Set<DiskId>();

  constructor(parts: DisksParts) {
    const { usual, poolSize, isStarting, logger } = parts;
    this.#parts = parts;
    this.#ready = new ReadyPool({
      name: 'disk',
      size: usual ? poolSize : 0,
      delayMs: REFILL_DELAY_MS,
      isBusy: isStarting,
      claim: (count) => Array.from({ length: Math.max(0, count) }, () => this.#claim()),
      make: async (ids) => {
        if (usual) for (const id of ids) await this.#make(id, usual);
      },
      logger,
    });
  }

  /** Begins to make disks ahead. The directories for them must be there. */
  open(): void {
    this.#ready.refill();
  }

  /** Gives an instance that has no files yet a disk, to which nobody but the server may write until it has its share. */
  async give(places: InstanceLayout, size: DiskSize): Promise<void> {
    const { usual, room } = this.#parts;
    const ready =
      size.sizeMiB === usual?.sizeMiB && size.files === usual.files ? this.#ready.take() : undefined;
    const id = ready ?? this.#claim();
    try {
      if (ready === undefined) await this.#make(id, size);
      await room.add(this.#places(id));
      await symlink(this.#places(id).target, places.diskDir);
    } catch (error) {
      await this.#drop(id);
      throw error;
    }
  }

  /** Lets its disk, and each other, take a share of what the machine has left. All are looked at for that: it takes longer the more there are. @throws SkerryError `disk-full` */
  async share({ diskDir }: InstanceLayout): Promise<void> {
    await this.#parts.room.share();
    const { bavail, bsize } = await statfs(diskDir);
    if (bavail * bsize < LEAST_BYTES) {
      throw new SkerryError('disk-full', 'The machine is out of disk space for another sandbox.');
    }
  }

  /** How much an instance has written at most, in bytes; undefined for one whose files are on no disk of its own. */
  async written(places: InstanceLayout): Promise<number | undefined> {
    const id = await this.#of(places.diskDir);
    if (!id) return undefined;
    const { blocks, bfree, bsize } = await statfs(this.#places(id).target);
    return (blocks - bfree) * bsize;
  }

  /** Takes all files of a halted instance away, whatever they are on. Idempotent. */
  async take(places: InstanceLayout): Promise<void> {
    const id = await this.#of(places.diskDir);
    if (id) await this.#drop(id);
    await rm(places.diskDir, { recursive: true, force: true });
  }

  /** After a restart: goes on with the disks of those instances, and removes those that are nobody's. What cannot be removed is told to `onLeft`. */
  async adopt(
    instances: Iterable<InstanceLayout>,
    onLeft: (what: string, error: unknown) => void,
  ): Promise<void> {
    for (const { diskDir } of instances) {
      const id = await this.#of(diskDir);
      if (!id) continue; // one of a version that had none
      this.#own.add(id);
      await this.#parts.room.add(this.#places(id));
    }
    const { disksDir, diskMountsDir } = this.#parts.layout;
    const found = new Set([...(await names(disksDir)), ...(await names(diskMountsDir))].filter(isDiskId));
    for (const id of found) {
      if (!this.#own.has(id)) await this.#drop(id).catch((error: unknown) => onLeft(`disk ${id}`, error));
    }
  }

  /** Lets go of those that are somebody's, and removes the others. */
  async close(): Promise<void> {
    for (const id of await this.#ready.close()) await this.#drop(id);
  }

  #claim(): DiskId {
    const id = newDiskId();
    this.#own.add(id);
    return id;
  }

  async #make(id: DiskId, size: DiskSize): Promise<void> {
    try {
      await makeDisk(this.#parts.treesBinary, this.#places(id), size);
    } catch (error) {
      await this.#drop(id);
      throw error;
    }
  }

  async #drop(id: DiskId): Promise<void> {
    await this.#parts.room.remove(this.#places(id));
    await dropDisk(this.#parts.treesBinary, this.#places(id));
    this.#own.delete(id);
  }

  async #of(diskDir: string): Promise<DiskId | undefined> {
    const target = await readlink(diskDir).catch(() => '');
    const id = basename(target);
    return dirname(target) === this.#parts.layout.diskMountsDir && isDiskId(id) ? id : undefined;
  }

  #places(id: DiskId): DiskPlaces {
    const { disksDir, diskMountsDir } = this.#parts.layout;
    return { image: join(disksDir, id), target: join(diskMountsDir, id) };
  }
}

const names = (directory: string): Promise<string[]> => readdir(directory).catch(() => []);

/** Why no disk can be made in the data directory; undefined when it can, or when only room is missing now. Leaves nothing. */
export async function whyNoDisks(layout: Layout, treesBinary: string): Promise<string | undefined> {
  if (!findProgram('mke2fs')) return 'mke2fs not found';
  const id = newDiskId();
  const places = { image: join(layout.disksDir, id), target: join(layout.diskMountsDir, id) };
  try {
    await makeDisk(treesBinary, places, TRIAL);
    await DiskTap.of(places);
    return undefined;
  } catch (error) {
    const { bavail } = await statfs(layout.disksDir);
    return bavail === 0 ? undefined : toSkerryError(error).message;
  } finally {
    await dropDisk(treesBinary, places);
  }
}
