/** What lies below the layers of every image that Pods run: an empty one has no directory for temporary files. */
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { GUEST_BIN_DIR } from '../paths.ts';

/** The directory of our mount point, and `/tmp`; Kubernetes brings the rest. */
export async function prepareSkeleton(directory: string): Promise<void> {
  for (const path of ['etc', join(GUEST_BIN_DIR, '..'), 'tmp']) {
    await mkdir(join(directory, path), { recursive: true, mode: 0o755 });
  }
  await chmod(join(directory, 'tmp'), 0o1777);
}
