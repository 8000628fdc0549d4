/** A file system for one sandbox: ext4 in a sparse file of this machine, which bounds bytes and files whatever file system the file is on. */
import { mkdir, open, rename, rm, rmdir, truncate } from 'node:fs/promises';
import { baseEnvironment, run } from '../../platform/command.ts';
import type { DiskSize } from '../engine.ts';

const MIB = 2 ** 20;
const BLOCK_BYTES = 4096;
const INODE_BYTES = 256;
const JOURNAL_MIB = 4;
/** ext4 keeps so many blocks from everybody, or a fiftieth of all, as what it may need to write what it has promised (fs/ext4/super.c, `ext4_calculate_resv_clusters`). */
const RESERVED_BLOCKS = 4096;
/** Descriptors, bitmaps and the directories that come with it. */
const FIXED_MIB = 1;
const DESCRIPTIONS_PER_MIB = 256;

/** By name, since what they are by default differs from one machine to the next. */
const FEATURES = [
  ...['has_journal', 'ext_attr', 'dir_index', 'filetype', 'extent', '64bit', 'flex_bg', 'sparse_super'],
  ...['large_file', 'huge_file', 'dir_nlink', 'extra_isize', 'metadata_csum'],
];

/**
 * What is removed is given back to the machine's file system (`discard`). Nothing in it outlives the machine, so nothing waits for the machine's disk
 * (`barrier=0`); nor are empty inode tables written out (`noinit_itable`). One that is found damaged is written to no more.
 */
const MOUNT_OPTIONS = 'discard,barrier=0,noinit_itable,errors=remount-ro';
/** What is synced in it is on the machine's disk. */
const KEPT_MOUNT_OPTIONS = 'discard,noinit_itable,errors=remount-ro';

export interface DiskPlaces {
  /** The file. */
  readonly image: string;
  /** Where it is mounted. */
  readonly target: string;
}

/** Blocks that ext4 keeps back of so many. */
export const reservedBlocks = (blocks: number): number => Math.min(Math.floor(blocks / 50), RESERVED_BLOCKS);

/** How long the file must be so that the room asked for is there beside what ext4 needs itself. */
export function imageBytes({ sizeMiB, files }: DiskSize): number {
  const inodesMiB = Math.ceil((files * INODE_BYTES) / MIB);
  const descriptionsMiB = Math.ceil(sizeMiB / DESCRIPTIONS_PER_MIB);
  const beforeReserve = sizeMiB + inodesMiB + descriptionsMiB + JOURNAL_MIB + FIXED_MIB;
  const blocks = (beforeReserve * MIB) / BLOCK_BYTES;
  return (blocks + Math.min(Math.ceil(blocks / 49), RESERVED_BLOCKS)) * BLOCK_BYTES;
}

/** Makes and mounts one. On failure something may be left: `dropDisk` removes it. @throws SkerryError `internal` with the programs' words */
export async function makeDisk(
  treesBinary: string,
  { image, target }: DiskPlaces,
  size: DiskSize,
): Promise<void> {
  await format(image, size);
  await mount(treesBinary, { image, target }, MOUNT_OPTIONS);
  await rmdir(`${target}/lost+found`);
}

/** Likewise one that is kept, in which what programs sync outlives the machine. The file has its name once it can be mounted. */
export async function makeKeptDisk(
  treesBinary: string,
  { image, target }: DiskPlaces,
  size: DiskSize,
): Promise<void> {
  const unfinished = `${image}.new`;
  await rm(unfinished, { force: true });
  await format(unfinished, size);
  await rename(unfinished, image);
  await mountKeptDisk(treesBinary, { image, target });
}

/** Mounts one that was made before, also by another start of the machine. */
export const mountKeptDisk = (treesBinary: string, places: DiskPlaces): Promise<void> =>
  mount(treesBinary, places, KEPT_MOUNT_OPTIONS);

async function mount(treesBinary: string, { image, target }: DiskPlaces, options: string): Promise<void> {
  await mkdir(target, { recursive: true, mode: 0o700 });
  await run([treesBinary, 'mount-image', image, target, options]);
}

async function format(image: string, size: DiskSize): Promise<void> {
  const file = await open(image, 'wx', 0o600);
  await file.truncate(imageBytes(size)).finally(() => file.close());
  const argv = [
    ...[
      'mke2fs',
      '-q',
      '-F',
      '-b',
      String(BLOCK_BYTES),
      '-I',
      String(INODE_BYTES),
      '-m',
      '0',
      '-N',
      String(size.files),
    ],
    ...['-J', `size=${JOURNAL_MIB}`, '-O', `none,${FEATURES.join(',')}`, '-G', '16'],
    ...['-E', 'nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0', image],
  ] as const;
  // The machine's own settings of the program must not change what is made.
  await run(argv, { env: { ...baseEnvironment(), MKE2FS_CONFIG: '/dev/null' } });
}

/** Takes away whatever there is of one; nothing of what is in it is written any more. Idempotent. */
export async function dropDisk(treesBinary: string, { image, target }: DiskPlaces): Promise<void> {
  await run([treesBinary, 'drop-image', image, target]);
  await rm(target, { recursive: true, force: true });
  // A copy of the mount in somebody else's mount namespace would keep the room for as long as that is there.
  await truncate(image, 0).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  await rm(image, { force: true });
}
