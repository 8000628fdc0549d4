/** What of the machine's file system sandboxes may fill: a part of it stays for the server, its images and everybody else. */
import { statfs } from 'node:fs/promises';

const GIB = 2 ** 30;
const KEPT_SHARE = 0.05;
const KEPT_MOST_BYTES = GIB;

/** What is left for sandboxes of so many bytes that are free, of a file system of that size; negative where they have too much already. */
export const roomOf = (available: number, total: number): number =>
  available - Math.min(total * KEPT_SHARE, KEPT_MOST_BYTES);

/** What is left in bytes, and in files and directories; negative where there are too many already. */
export interface Room {
  readonly bytes: number;
  /** Infinite on a file system that does not count them. */
  readonly files: number;
}

/** What is left for sandboxes of the file system that a directory is on. */
export async function roomOn(directory: string): Promise<Room> {
  const { bavail, blocks, bsize, ffree, files } = await statfs(directory);
  return {
    bytes: roomOf(bavail * bsize, blocks * bsize),
    files: files === 0 ? Number.POSITIVE_INFINITY : ffree - files * KEPT_SHARE,
  };
}

/** The same in bytes alone. */
export const roomAt = async (directory: string): Promise<number> => (await roomOn(directory)).bytes;
