/** What a caller's mounts may be, and where they are. The domain chooses the sources; a target may come from a client. */
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceMount } from '../engine.ts';
import { checkMountTarget } from '../mount-target.ts';
import type { FilePlaces } from '../references.ts';

/** A mount whose source is a path of this machine. */
export interface PlacedMount extends Omit<InstanceMount, 'source'> {
  readonly source: string;
  /** It is of a `ScratchRef`. */
  readonly scratch: boolean;
  /** What another writes there is seen, and what a program closed is there: nothing is kept between it and its source. */
  readonly direct?: boolean;
}

const MAX_MOUNTS = 100;

/** The mounts with the places of their sources. @throws SkerryError `invalid-argument` naming the mount that cannot be. */
export function placeMounts(mounts: readonly InstanceMount[], content: FilePlaces): PlacedMount[] {
  if (mounts.length > MAX_MOUNTS) {
    throw new SkerryError(
      'invalid-argument',
      `At most ${MAX_MOUNTS} mounts are possible, not ${mounts.length}.`,
    );
  }
  for (const { target } of mounts) checkMountTarget(target);
  return mounts.map((mount) => ({
    ...mount,
    source: content.mount(mount.source),
    scratch: mount.source.kind === 'scratch',
  }));
}

/** What is mounted in another comes after it. */
export const outermostFirst = (mounts: readonly PlacedMount[]): PlacedMount[] =>
  mounts.toSorted((a, b) => a.target.length - b.target.length);
