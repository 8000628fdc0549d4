/** Disks that are kept until they are removed, whatever ends: `<directory>/<name>` on the machine's disk, mounted below `<mounts>`. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import { mountsBelow } from '../../platform/mounts.ts';
import type { DiskSize, KeptDisks } from '../engine.ts';
import { type DiskPlaces, dropDisk, makeKeptDisk, mountKeptDisk } from './disk-image.ts';
import type { SharedRoom } from './shared-room.ts';

/** So much each can take in the beginning. */
const LEAST_BYTES = 4 * 2 ** 20;

export interface KeptDisksParts {
  readonly directory: string;
  readonly mounts: string;
  readonly treesBinary: string;
  readonly room: SharedRoom;
  /** Whether new ones can be made here. */
  readonly work: boolean;
}

export class ImageDisks implements KeptDisks {
  readonly #parts: KeptDisksParts;

  constructor(parts: KeptDisksParts) {
    this.#parts = parts;
  }

  /** Goes on with those that an earlier server mounted. */
  async openAll(): Promise<void> {
    const { directory, mounts, room } = this.#parts;
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await mkdir(mounts, { recursive: true, mode: 0o700 });
    for (const target of await mountsBelow(mounts)) {
      const places = this.#places(basename(target));
      if (target === places.target && existsSync(places.image)) await room.add(places);
    }
  }

  get work(): boolean {
    return this.#parts.work;
  }

  has(name: string): boolean {
    return existsSync(this.#places(name).image);
  }

  at(name: string): string {
    return this.#places(name).target;
  }

  async make(name: string, size: DiskSize): Promise<void> {
    const { treesBinary, room } = this.#parts;
    if (!(await room.has(LEAST_BYTES))) {
      throw new SkerryError('disk-full', 'The machine is out of disk space for what is written in a volume.');
    }
    const places = this.#places(name);
    try {
      await makeKeptDisk(treesBinary, places, size);
      await room.add(places);
      await room.share();
    } catch (error) {
      await this.remove(name);
      throw error;
    }
  }

  async open(name: string): Promise<void> {
    const { mounts, treesBinary, room } = this.#parts;
    const places = this.#places(name);
    if ((await mountsBelow(mounts)).includes(places.target)) return;
    await mountKeptDisk(treesBinary, places);
    await room.add(places);
  }

  async remove(name: string): Promise<void> {
    const places = this.#places(name);
    await this.#parts.room.remove(places);
    await dropDisk(this.#parts.treesBinary, places);
    await rm(`${places.image}.new`, { force: true });
  }

  async names(): Promise<readonly string[]> {
    const names = await readdir(this.#parts.directory);
    return [...new Set(names.map((name) => basename(name, '.new')))];
  }

  #places(name: string): DiskPlaces {
    return { image: join(this.#parts.directory, name), target: join(this.#parts.mounts, name) };
  }
}
