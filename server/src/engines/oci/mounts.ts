/** What a caller's mounts may be, and where they are. The domain chooses the sources; a target may come from a client. */
import { isAbsolute, normalize } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceMount } from '../engine.ts';
import type { ContentPlaces } from '../references.ts';

/** A mount whose source is a path of this machine. */
export interface PlacedMount extends Omit<InstanceMount, 'source'> {
  readonly source: string;
}

const MAX_MOUNTS = 100;
const MAX_TARGET_LENGTH = 1024;
/** Covering these would hide the kernel's interfaces or the agent. */
const reserved = ['/proc', '/sys', '/dev', '/__modal'];

/** The mounts with the places of their sources. @throws SkerryError `invalid-argument` naming the mount that cannot be. */
export function placeMounts(mounts: readonly InstanceMount[], content: ContentPlaces): PlacedMount[] {
  validateMounts(mounts);
  return mounts.map((mount) => ({ ...mount, source: content.mount(mount.source) }));
}

function validateMounts(mounts: readonly InstanceMount[]): void {
  if (mounts.length > MAX_MOUNTS) {
    throw new SkerryError(
      'invalid-argument',
      `At most ${MAX_MOUNTS} mounts are possible, not ${mounts.length}.`,
    );
  }
  for (const { target } of mounts) {
    const plain = target.replace(/\/+$/, '');
    const clean =
      isAbsolute(target) &&
      target.length <= MAX_TARGET_LENGTH &&
      !target.includes('\0') &&
      normalize(plain || '/') === plain;
    if (!clean) {
      throw new SkerryError(
        'invalid-argument',
        `Cannot mount at ${JSON.stringify(target.slice(0, 200))}: name an absolute directory other than the root.`,
      );
    }
    if (reserved.some((path) => plain === path || plain.startsWith(`${path}/`))) {
      throw new SkerryError(
        'invalid-argument',
        `Cannot mount at ${target}: ${reserved.join(', ')} are reserved.`,
      );
    }
  }
}
