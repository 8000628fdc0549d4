/**
 * What the disks of sandboxes may still take, so that all of them together never take more than the machine has: a file system in a sparse file that the machine has no
 * room for would lose what it has accepted. ext4 keeps blocks back from everybody if it is told to; so its programs get ENOSPC, at once, and nothing is lost.
 */
import { readFileSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { readlink, stat, statfs } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { deviceNumbers } from '../../platform/device-numbers.ts';
import { type DiskPlaces, reservedBlocks } from './disk-image.ts';

/** `st_blocks` counts these. */
const SECTOR_BYTES = 512;

/** A disk as it is: all in bytes. */
export interface DiskUse {
  /** What no file has. */
  readonly free: number;
  /** Of that, what ext4 keeps by itself. */
  readonly reserve: number;
  /** What has been written and is not in the image yet: in memory only. */
  readonly pending: number;
}

const pendingOf = (disks: readonly DiskUse[]): number => disks.reduce((sum, { pending }) => sum + pending, 0);

/**
 * How much more each disk may take, in their order: all that is free in it while the room is enough for all of them; else none gets more than an equal share, and what one has
 * no use for is the others'.
 */
export function sharesOf(room: number, disks: readonly DiskUse[]): readonly number[] {
  let left = Math.max(0, room - pendingOf(disks));
  const wanted = disks.map(({ free, reserve }) => Math.max(0, free - reserve));
  const shares = wanted.map(() => 0);
  const order = wanted.map((_, index) => index).sort((a, b) => (wanted[a] ?? 0) - (wanted[b] ?? 0));
  for (const [turn, index] of order.entries()) {
    const share = Math.min(wanted[index] ?? 0, Math.floor(left / (order.length - turn)));
    shares[index] = share;
    left -= share;
  }
  return shares;
}

/**
 * A mounted disk: what there is in it, and what of that it may take. It is looked at every second, all disks one after the other, and the kernel answers from its memory: to wait for each
 * answer by a thread of its own would take ten times of the processor.
 */
export class DiskTap {
  readonly #places: DiskPlaces;
  /** Where the kernel tells of it and is told. */
  readonly #kernel: string;
  readonly #blockBytes: number;
  readonly #reserve: number;
  #keeps: number | undefined;

  private constructor(places: DiskPlaces, kernel: string, blocks: number, blockBytes: number) {
    this.#places = places;
    this.#kernel = kernel;
    this.#blockBytes = blockBytes;
    this.#reserve = reservedBlocks(blocks);
  }

  static async of(places: DiskPlaces): Promise<DiskTap> {
    const [{ dev }, { blocks, bsize }] = await Promise.all([stat(places.target), statfs(places.target)]);
    const { major, minor } = deviceNumbers(dev);
    const device = basename(await readlink(`/sys/dev/block/${major}:${minor}`));
    return new DiskTap(places, `/sys/fs/ext4/${device}`, blocks, bsize);
  }

  /** @throws when it is gone */
  use(): DiskUse {
    const { blocks, bfree } = statfsSync(this.#places.target);
    const image = statSync(this.#places.image);
    const delayed = readFileSync(join(this.#kernel, 'delayed_allocation_blocks'), 'utf8');
    const used = (blocks - bfree) * this.#blockBytes;
    return {
      free: bfree * this.#blockBytes,
      reserve: this.#reserve * this.#blockBytes,
      // What was removed stays in the image until it is discarded: what came after it has no place there yet.
      pending: Math.max(0, used - image.blocks * SECTOR_BYTES, Number(delayed) * this.#blockBytes),
    };
  }

  /** Lets it take so many bytes more of those that are free. @throws when it is gone */
  allow(bytes: number, { free }: Pick<DiskUse, 'free'>): void {
    const keeps = Math.max(this.#reserve, Math.ceil((free - bytes) / this.#blockBytes));
    if (keeps === this.#keeps) return;
    writeFileSync(join(this.#kernel, 'reserved_clusters'), String(keeps));
    this.#keeps = keeps;
  }
}

/** Others have their turn after so many disks. */
const AT_ONCE = 16;

/**
 * Lets each of the disks take its share of so many bytes. Those that are gone meanwhile count for nothing.
 * @returns what they have taken already and is in memory only, in bytes
 */
export async function shareRoom(bytes: number, taps: readonly DiskTap[]): Promise<number> {
  const there = (await mapInTurns(taps, lookAt)).filter((each) => each !== undefined);
  const known = there.map(({ use }) => use);
  const shares = sharesOf(bytes, known);
  await mapInTurns(there, ({ tap, use }, index) => {
    try {
      tap.allow(shares[index] ?? 0, use);
    } catch {
      // gone meanwhile
    }
  });
  return pendingOf(known);
}

function lookAt(tap: DiskTap): { tap: DiskTap; use: DiskUse } | undefined {
  try {
    return { tap, use: tap.use() };
  } catch {
    return undefined;
  }
}

async function mapInTurns<T, U>(all: readonly T[], work: (each: T, index: number) => U): Promise<U[]> {
  const results: U[] = [];
  for (const [index, each] of all.entries()) {
    if (index > 0 && index % AT_ONCE === 0) await setImmediate();
    results.push(work(each, index));
  }
  return results;
}
