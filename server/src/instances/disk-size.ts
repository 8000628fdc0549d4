/** How many files there may be on the disk of an instance. */
import type { DiskSize } from '../engines/engine.ts';

/** ext4 takes more files in no room: one a block. */
const MAX_FILES_PER_MIB = 256;

/** What the configuration says of disks of one size holds for others in proportion. */
export interface UsualDisk {
  readonly defaultDiskMiB: number;
  readonly defaultDiskFiles: number;
}

export function diskOf(sizeMiB: number, { defaultDiskMiB, defaultDiskFiles }: UsualDisk): DiskSize {
  const inProportion = Math.ceil((defaultDiskFiles * sizeMiB) / defaultDiskMiB);
  return { sizeMiB, files: Math.min(inProportion, sizeMiB * MAX_FILES_PER_MIB) };
}
