/** What of the machine's file system sandboxes may fill: a part of it stays for the server, its images and everybody else. */
import { statfs } from 'node:fs/promises';

const GIB = 2 ** 30;
const KEPT_SHARE = 0.05;
const KEPT_MOST_BYTES = GIB;

/** What is left for sandboxes of so many bytes that are free, of a file system of that size; negative where they have too much already. */
export const roomOf = (available: number, total: number): number =>
  available - Math.min(total * KEPT_SHARE, KEPT_MOST_BYTES);

/** The same of the file system that a directory is on. */
export async function roomAt(directory: string): Promise<number> {
  const { bavail, blocks, bsize } = await statfs(directory);
  return roomOf(bavail * bsize, blocks * bsize);
}
