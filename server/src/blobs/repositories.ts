/** The rows that file mounts are kept in: lists of paths whose contents are in the blob store. `store/mounts.ts` implements this. */
import type { MountId } from '../ids.ts';
import type { MountedFile } from './blobs.ts';

export interface MountRow {
  readonly id: MountId;
  readonly checksum: string;
  readonly files: readonly MountedFile[];
}

export interface MountRepository {
  byId(id: string): MountRow | undefined;
  idOfChecksum(checksum: string): MountId | undefined;
  insert(row: MountRow, nowMs: number): void;
  /** Of all files of mounts that a sandbox has which has not ended. */
  digestsInUse(): ReadonlySet<string>;
  /** Removes the mounts that have a file of one of these digests. */
  forgetHolding(digests: readonly string[]): void;
}
