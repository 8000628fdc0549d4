/**
 * Capabilities that programs get by their file, as `ping` its CAP_NET_RAW: capabilities(7), "File capabilities". In a sandbox nobody gains more by them than the
 * sandbox has, as by set-user-id files of root.
 */
import { run } from '../../platform/command.ts';

/** The kernel's `struct vfs_cap_data`, whose flags beside the version say whether the program has them from its start. */
const VERSION_2 = { bytes: 20, magic: 0x0200_0000 };
/** The same for one user namespace, by its root. */
const VERSION_3 = { bytes: 24, magic: 0x0300_0000 };
const EFFECTIVE = 1;

/**
 * @param value as an archive's header has it, decoded as UTF-8
 * @returns version 2 of it; undefined where it is neither that nor version 3 for root, or not what the header had: a byte that is no UTF-8 is lost by then
 */
export function capabilitiesOf(value: string): Buffer | undefined {
  if (value.includes('\uFFFD')) return undefined;
  const data = Buffer.from(value);
  if (data.length !== VERSION_2.bytes && data.length !== VERSION_3.bytes) return undefined;
  const magic = data.readUInt32LE(0);
  const version = data.length === VERSION_2.bytes ? VERSION_2 : VERSION_3;
  const isForRoot = version === VERSION_2 || data.readUInt32LE(VERSION_2.bytes) === 0;
  if ((magic & ~EFFECTIVE) !== version.magic || !isForRoot) return undefined;
  data.writeUInt32LE(VERSION_2.magic | (magic & EFFECTIVE), 0);
  return data.subarray(0, VERSION_2.bytes);
}

/** @param fd of the file, open in this process: a name could lead elsewhere by now */
export async function setCapabilities(fd: number, capabilities: Buffer): Promise<void> {
  const value = `0x${capabilities.toString('hex')}`;
  await run(['setfattr', '-n', 'security.capability', '-v', value, `/proc/${process.pid}/fd/${fd}`]);
}
