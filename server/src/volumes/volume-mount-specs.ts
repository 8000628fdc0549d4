/** How a sandbox asks for volumes. */
import { checkMountTarget } from '../engines/mount-target.ts';
import type { VolumeRef } from '../engines/references.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import type { VolumeId } from '../ids.ts';
import { clip } from '../platform/text.ts';
import { parseVolumePath } from './paths.ts';

export interface VolumeMountSpec {
  readonly volumeId: VolumeId;
  /** Absolute, in the sandbox. */
  readonly target: string;
  readonly readOnly: boolean;
  /** A directory of the volume, as `paths.ts` has it, which is made when it is not there; empty for all of it. */
  readonly subPath: string;
}

/** What an engine is asked to show in the sandbox. */
export interface AttachedVolume {
  readonly source: VolumeRef;
  readonly target: string;
  readonly readOnly: boolean;
}

/** Of one sandbox. */
const MAX_MOUNTS = 64;

/** @throws SkerryError `invalid-argument` for what cannot be mounted so, whether there are such volumes or not */
export function checkVolumeMounts(specs: readonly VolumeMountSpec[]): void {
  if (specs.length > MAX_MOUNTS)
    throw new SkerryError('invalid-argument', `A sandbox can have at most ${MAX_MOUNTS} volumes.`);
  const targets = new Set<string>();
  for (const { target, subPath } of specs) {
    checkMountTarget(target);
    if (targets.has(target))
      throw new SkerryError('invalid-argument', `Two volumes cannot be mounted at '${clip(target)}'.`);
    targets.add(target);
    parseVolumePath(subPath);
  }
}
