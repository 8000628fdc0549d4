/** Work that fills a directory with what strangers send: it ends before the file system has nothing left for anybody else. */
import { readdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';
import { roomOf } from './kept-room.ts';

/** A fast disk takes some hundred MiB meanwhile, and what is kept for others is more. */
const LOOK_MS = 200;
/** Of the inodes of the file system. */
const KEPT_SHARE_OF_FILES = 0.02;

export interface RoomWatch {
  /** Where the work writes. */
  readonly directory: string;
  /** What may be in there; as much as there is room for when undefined. Few files are in it: each is looked at again and again. */
  readonly most?: { readonly bytes: number; readonly otherwise: () => SkerryError };
  readonly signal: AbortSignal;
}

/** @param work is given a signal that ends it. @throws SkerryError `disk-full`, or what `most` says, when that was why */
export async function withinRoom<T>(
  { directory, most, signal }: RoomWatch,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const look = async () => {
    if (await isFull(directory)) stop.abort(new SkerryError('disk-full', 'the machine is out of disk space'));
    else if (most && (await bytesBelow(directory)) > most.bytes) stop.abort(most.otherwise());
  };
  let looking = Promise.resolve();
  const timer = setInterval(() => {
    // What cannot be looked at is no reason to end the work; it comes to an end by itself where the disk is full.
    looking = looking.then(look).catch(() => {});
  }, LOOK_MS);
  try {
    return await work(AbortSignal.any([signal, stop.signal]));
  } finally {
    clearInterval(timer);
    await looking;
  }
}

async function isFull(directory: string): Promise<boolean> {
  const { bavail, blocks, bsize, files, ffree } = await statfs(directory);
  // Some file systems make inodes as they need them, and have no number of them.
  return roomOf(bavail * bsize, blocks * bsize) < 0 || (files > 0 && ffree < files * KEPT_SHARE_OF_FILES);
}

async function bytesBelow(directory: string): Promise<number> {
  const entries = await readdir(directory, { withFileTypes: true });
  const sizes = entries.map(async (entry): Promise<number> => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return bytesBelow(path);
    return stat(path).then(
      ({ size }) => size,
      () => 0, // it went meanwhile
    );
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
