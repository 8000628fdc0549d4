/**
 * What instances are made of, by name. An engine asks `ContentPlaces` where on its machine that is, so whoever asks for an instance need not know, and need
 * not be on the same machine.
 */
import type { LayerId, MemorySnapshotId, VolumeMountId } from '../ids.ts';

/** A layer of an image, or one that is being made. */
export type LayerRef = LayerId;

/** The memory of an instance as it was at one moment. */
export type CheckpointRef = MemorySnapshotId;

/** What can be mounted into an instance. */
export type MountRef = ScratchRef | VolumeRef;

/** A file or directory of somebody's own for a while: what a build shows to one of its steps. What an instance with a disk writes in it goes there instead. */
export interface ScratchRef {
  readonly kind: 'scratch';
  /** Relative, without `.`, `..` or links. */
  readonly path: string;
}

/** A working tree of a volume, or a directory in it. */
export interface VolumeRef {
  readonly kind: 'volume';
  readonly tree: VolumeMountId;
  /** Relative, without `.`, `..` or links; empty for all of it. */
  readonly path: string;
}

/** A file that is not whole yet, at the top of a working tree that an engine brings into an instance or out of one; `trees/src/mirror/` has the same. */
export const UNFINISHED_COPY = '.skerry-incoming';

/** Where on this machine is what references to files name: absolute paths. */
export interface FilePlaces {
  /** The directory of a layer, in overlayfs format. */
  layer(ref: LayerRef): string;
  /** The directory that a layer under construction is written to; it does not exist before, and the directory it lies in does. */
  newLayer(ref: LayerRef): string;
  mount(ref: MountRef): string;
}

/** Likewise of all references. */
export interface ContentPlaces extends FilePlaces {
  /** The directory of a checkpoint, which does not exist before one is made; the one it lies in does. */
  checkpoint(ref: CheckpointRef): string;
  /** Those that there are. */
  checkpoints(): Promise<readonly CheckpointRef[]>;
}
