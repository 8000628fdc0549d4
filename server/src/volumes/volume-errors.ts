/** The errors of calls about volumes and their files, in the same words wherever they arise. */
import { SkerryError } from '../errors/skerry-error.ts';
import { clip } from '../platform/text.ts';
import { showVolumePath, type VolumePath } from './paths.ts';
import { MAX_VOLUME_FILES } from './volumes.ts';

/** @param what its name or id, as the caller gave it */
export const noSuchVolume = (what: string): SkerryError =>
  new SkerryError('not-found', `Volume '${clip(what)}' not found.`);

export const noSuchFile = (path: VolumePath): SkerryError =>
  new SkerryError('not-found', `No such file or directory: '${clip(showVolumePath(path))}'.`);

/** Where a directory had to be. */
export const notADirectory = (path: VolumePath): SkerryError =>
  new SkerryError('conflict', `'${showVolumePath(path)}' is not a directory.`);

/** Where a file was to be put. */
export const isADirectory = (path: VolumePath): SkerryError =>
  new SkerryError('already-exists', `'${showVolumePath(path)}' is a directory.`);

/** What a volume would hold. */
export const tooManyBytes = (maxBytes: number): SkerryError =>
  new SkerryError(
    'volume-full',
    `A volume may hold at most ${Math.floor(maxBytes / 2 ** 20)} MiB (maxVolumeMiB).`,
  );

/** The same, or what a sandbox wrote in one. */
export const tooManyFiles = (): SkerryError =>
  new SkerryError('volume-full', `A volume may hold at most ${MAX_VOLUME_FILES} files and directories.`);
