/** Disks for working trees, as the engine of this machine makes them, in a directory of a test's. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { treesBinaryPath } from '../../agent/agent-binary.ts';
import { ImageDisks } from '../../engines/oci/kept-disks.ts';
import { SharedRoom } from '../../engines/oci/shared-room.ts';
import { MachineRoom } from '../../platform/machine-room.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type { VolumeMountsOptions } from '../volume-mounts.ts';

export const TEST_DISK = { sizeMiB: 32, files: 2048 };

/** Those that an earlier one left in the directory are opened. */
export async function openTestDisks(root: string): Promise<NonNullable<VolumeMountsOptions['disks']>> {
  const [directory, mounts] = [join(root, 'kept-disks'), join(root, 'k')];
  mkdirSync(directory, { recursive: true });
  const room = new SharedRoom(new MachineRoom(directory), createLogger('silent'));
  const kept = new ImageDisks({ directory, mounts, treesBinary: treesBinaryPath(), room, work: true });
  await kept.openAll();
  return { kept, size: TEST_DISK };
}
