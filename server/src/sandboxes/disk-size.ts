/** How large the disk of a sandbox is: what it asks for, within what the configuration and the machine allow. */
import { statfsSync } from 'node:fs';
import type { Config } from '../config/config.ts';
import type { DiskSize } from '../engines/engine.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { diskOf } from '../instances/disk-size.ts';

/** No smaller one is made, MiB. */
export const MIN_DISK_MIB = 16;

type DiskConfig = Pick<Config, 'defaultDiskMiB' | 'defaultDiskFiles' | 'maxDiskMiB'>;

/** @param askedMiB zero means the configured default */
export const diskSize = (askedMiB: number, config: DiskConfig): DiskSize =>
  diskOf(askedMiB || config.defaultDiskMiB, config);

/**
 * Refuses a size that cannot be had; none asked for is fine.
 * @param bounds whether the machine can bound the disk of a sandbox
 * @throws SkerryError `invalid-argument`, `unimplemented`, `resource-exhausted`
 */
export function checkDiskSize(
  askedMiB: number,
  { maxDiskMiB }: DiskConfig,
  bounds: () => boolean,
  dataDir: string,
): void {
  if (askedMiB === 0) return;
  if (askedMiB < MIN_DISK_MIB) {
    throw new SkerryError(
      'invalid-argument',
      `ephemeral_disk must be at least ${MIN_DISK_MIB} MiB, not ${askedMiB}.`,
    );
  }
  if (askedMiB > maxDiskMiB) {
    throw new SkerryError(
      'invalid-argument',
      `ephemeral_disk of ${askedMiB} MiB is more than this server allows (maxDiskMiB: ${maxDiskMiB}).`,
    );
  }
  if (!bounds()) {
    throw new SkerryError(
      'unimplemented',
      'ephemeral_disk: this server does not bound the disk of a sandbox. `skerry doctor` says why.',
    );
  }
  const { bavail, bsize } = statfsSync(dataDir);
  const availableMiB = Math.floor((bavail * bsize) / 2 ** 20);
  if (askedMiB > availableMiB) {
    throw new SkerryError(
      'resource-exhausted',
      `ephemeral_disk of ${askedMiB} MiB: the machine has only ${availableMiB} MiB of disk left.`,
    );
  }
}
