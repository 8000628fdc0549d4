/**
 * What the disks of sandboxes may still take, so that all of them together never take more than the machine has: a file system in a sparse file that the machine has no
 * room for would lose what it has accepted. ext4 keeps blocks back from everybody if it is told to; so its programs get ENOSPC, at once, and nothing is lost.
 */
import { readlink, stat, statfs, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { deviceNumbers } from '../../platform/device-numbers.ts';
import { roomAt } from '../../platform/kept-room.ts';
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

/**
 * How much more each disk may take, in their order: all that is free in it while the room is enough for all of them; else none gets more than an equal share, and what one has
 * no use for is the others'.
 */
export function sharesOf(room: number, disks: readonly DiskUse[]): readonly number[] {
  let left = Math.max(0, room - disks.reduce((sum, { pending }) => sum + pending, 0));
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

/** A mounted disk: what there is in it, and what of that it may take. */
export class DiskTap {
  readonly #places: DiskPlaces;
  /** The kernel's switch for it. */
  readonly #reserved: string;
  readonly #blockBytes: number;
  readonly #reserve: number;
  #keeps: number | undefined;

  private constructor(places: DiskPlaces, reserved: string, blocks: number, blockBytes: number) {
    this.#places = places;
    this.#reserved = reserved;
    this.#blockBytes = blockBytes;
    this.#reserve = reservedBlocks(blocks);
  }

  static async of(places: DiskPlaces): Promise<DiskTap> {
    const [{ dev }, { blocks, bsize }] = await Promise.all([stat(places.target), statfs(places.target)]);
    const { major, minor } = deviceNumbers(dev);
    const device = basename(await readlink(`/sys/dev/block/${major}:${minor}`));
    return new DiskTap(places, `/sys/fs/ext4/${device}/reserved_clusters`, blocks, bsize);
  }

  async use(): Promise<DiskUse> {
    const [{ blocks, bfree }, image] = await Promise.all([
      statfs(this.#places.target),
      stat(this.#places.image),
    ]);
    const used = (blocks - bfree) * this.#blockBytes;
    return {
      free: bfree * this.#blockBytes,
      reserve: this.#reserve * this.#blockBytes,
      pending: Math.max(0, used - image.blocks * SECTOR_BYTES),
    };
  }

  /** Lets it take so many bytes more of those that are free. */
  async allow(bytes: number, { free }: Pick<DiskUse, 'free'>): Promise<void> {
    const keeps = Math.max(this.#reserve, Math.ceil((free - bytes) / this.#blockBytes));
    if (keeps === this.#keeps) return;
    await writeFile(this.#reserved, String(keeps));
    this.#keeps = keeps;
  }
}

/** Looks how much room there is and lets each of the disks take its share of it. Those that are gone meanwhile count for nothing. */
export async function shareRoom(directory: string, taps: readonly DiskTap[]): Promise<void> {
  if (taps.length === 0) return;
  const uses = await Promise.all(taps.map((tap) => tap.use().catch(() => undefined)));
  const there = taps.flatMap((tap, index) => {
    const use = uses[index];
    return use ? [{ tap, use }] : [];
  });
  const shares = sharesOf(
    await roomAt(directory),
    there.map(({ use }) => use),
  );
  await Promise.all(there.map(({ tap, use }, index) => tap.allow(shares[index] ?? 0, use).catch(() => {})));
}
