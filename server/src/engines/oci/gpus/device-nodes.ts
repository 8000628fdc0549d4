/**
 * Device files of GPUs for an instance with users of its own. In a user namespace a runtime can make none, and shows the machine's, whose owner and group are nobody
 * there.
 */
import { chown, mkdir } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { SkerryError } from '../../../errors/skerry-error.ts';
import { run } from '../../../platform/command.ts';
import { IDS_EACH, idOutside } from '../../../platform/id-ranges.ts';
import type { DeviceEdits, OciDevice } from './device-edits.ts';

/** runc's own, where a specification says nothing. */
const DEFAULT_MODE = 0o666;

/**
 * Makes the nodes in `devDir`, which is mounted as the instance's `/dev`.
 * @param firstId what id 0 of the instance is on the machine
 * @returns what else of the edits is to be done
 * @throws SkerryError `unavailable` naming what belongs to an id that the instance has not
 */
export async function ownDeviceNodes(
  devDir: string,
  edits: DeviceEdits,
  firstId: number,
): Promise<DeviceEdits> {
  for (const gid of edits.additionalGids) checkId(`The group of the GPU's users`, gid);
  for (const { path, uid = 0, gid = 0 } of edits.devices)
    for (const id of [uid, gid]) checkId(`The owner of ${path}`, id);
  for (const device of edits.devices) await makeNode(devDir, device, firstId);
  return { ...edits, devices: [] };
}

async function makeNode(
  devDir: string,
  { path, type, major, minor, fileMode = DEFAULT_MODE, uid = 0, gid = 0 }: OciDevice,
  firstId: number,
): Promise<void> {
  const node = join(devDir, relative('/dev', path));
  const first = await mkdir(dirname(node), { recursive: true, mode: 0o755 });
  for (let made = dirname(node); first && made.startsWith(first); made = dirname(made))
    await chown(made, firstId, firstId);
  await run(['mknod', '-m', fileMode.toString(8), node, type, String(major), String(minor)]);
  await chown(node, idOutside(firstId, uid), idOutside(firstId, gid));
}

function checkId(what: string, id: number): void {
  if (id < IDS_EACH) return;
  throw new SkerryError(
    'unavailable',
    `${what} is ${id} in its CDI file, and the users and groups of sandboxes under runc are 0 to ${IDS_EACH - 1}.`,
  );
}
