/** Work that fills the disk with what strangers send, or with copies of it: it ends before the server's part is gone, and before what sandboxes wrote has no place any more. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';
import type { MachineRoom } from './machine-room.ts';

/** A fast disk takes some hundred MiB meanwhile, and what is kept for others is more. */
const LOOK_MS = 200;

export interface RoomWatch {
  /** What it writes on. */
  readonly room: MachineRoom;
  /** What may be in a directory of its own; as much as there is room for when undefined. Few files are in it: each is looked at again and again. */
  readonly most?: {
    readonly directory: string;
    readonly bytes: number;
    readonly otherwise: () => SkerryError;
  };
  readonly signal: AbortSignal;
}

/** @param work is given a signal that ends it. @throws SkerryError `disk-full`, or what `most` says, when that was why */
export async function withinRoom<T>(
  { room, most, signal }: RoomWatch,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const look = async () => {
    const { bytes, files } = await room.left();
    if (bytes < 0 || files < 0) stop.abort(new SkerryError('disk-full', 'the machine is out of disk space'));
    else if (most && (await bytesBelow(most.directory)) > most.bytes) stop.abort(most.otherwise());
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
