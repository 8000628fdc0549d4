/**
 * Device files for an instance with users of its own. In a user namespace a runtime can make none, and shows the machine's, whose owner and group are nobody there:
 * so they are made here, and shown like any file.
 */
import { chown, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../../../errors/skerry-error.ts';
import { run } from '../../../platform/command.ts';
import { IDS_EACH, idOutside } from '../../../platform/id-ranges.ts';
import type { DeviceEdits, OciDevice } from './device-edits.ts';

/** runc's own, where a specification says nothing. */
const DEFAULT_MODE = 0o666;

/**
 * Makes the nodes in a file system of their own at `directory`, which is to be unmounted once the instance has ended.
 * @param firstId what id 0 of the instance is on the machine
 * @returns the edits with these in the place of devices
 * @throws SkerryError `unavailable` naming what belongs to an id that the instance has not
 */
export async function ownDeviceNodes(
  directory: string,
  edits: DeviceEdits,
  firstId: number,
): Promise<DeviceEdits> {
  for (const gid of edits.additionalGids) checkId(`The group of the GPU's users`, gid);
  for (const { path, uid = 0, gid = 0 } of edits.devices)
    for (const id of [uid, gid]) checkId(`The owner of ${path}`, id);
  await mkdir(directory, { mode: 0o755 });
  // That of the run directory usually lets no device be used.
  const options = `mode=755,size=64k,nr_inodes=${edits.devices.length + 1},nosuid,noexec`;
  await run(['mount', '-n', '-t', 'tmpfs', '-o', options, 'tmpfs', directory]);
  const mounts = [];
  for (const [index, device] of edits.devices.entries()) {
    const source = join(directory, String(index));
    await makeNode(source, device, firstId);
    const options = ['bind', 'rw', 'nosuid', 'noexec', 'rprivate'];
    mounts.push({ destination: device.path, type: 'bind', source, options } as const);
  }
  return { ...edits, devices: [], mounts: [...mounts, ...edits.mounts] };
}

async function makeNode(
  path: string,
  { type, major, minor, fileMode = DEFAULT_MODE, uid = 0, gid = 0 }: OciDevice,
  firstId: number,
): Promise<void> {
  await run(['mknod', '-m', fileMode.toString(8), path, type, String(major), String(minor)]);
  await chown(path, idOutside(firstId, uid), idOutside(firstId, gid));
}

function checkId(what: string, id: number): void {
  if (id < IDS_EACH) return;
  throw new SkerryError(
    'unavailable',
    `${what} is ${id} in its CDI file, and the users and groups of sandboxes under runc are 0 to ${IDS_EACH - 1}.`,
  );
}
