/** What lies below the layers of every image that Pods run: an empty one has no directory for temporary files. */
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { GUEST_BIN_DIR } from '../paths.ts';

/** Another one for each change of what is in it: it is part of the names of images. */
export const SKELETON_VERSION = 'skeleton-2';

/** The directory of our mount point, and `/tmp`; Kubernetes brings the rest. */
export async function prepareSkeleton(directory: string): Promise<void> {
  // Usual in /tmp, and it keeps the directory from being empty: over an empty one gVisor mounts a tmpfs, whose files no snapshot would hold.
  const inTmp = 'tmp/.X11-unix';
  for (const path of ['etc', join(GUEST_BIN_DIR, '..'), inTmp]) {
    await mkdir(join(directory, path), { recursive: true, mode: 0o755 });
  }
  for (const path of ['tmp', inTmp]) await chmod(join(directory, path), 0o1777);
}
