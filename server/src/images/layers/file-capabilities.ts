/**
 * Capabilities that programs get by their file, as `ping` its CAP_NET_RAW: capabilities(7), "File capabilities". In a sandbox nobody gains more by them than the
 * sandbox has, as by set-user-id files of root.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { dirname } from 'node:path/posix';
import { fromBytes, raw, toBytes } from '../../platform/byte-paths.ts';
import { run } from '../../platform/command.ts';

/** Files of an archive or a copy that get capabilities, each by a program of its own. */
export const MAX_CAPABLE = 1000;
const NAME = 'security.capability';
/** The kernel's `struct vfs_cap_data`, whose flags beside the version say whether the program has them from its start. */
const VERSION_2 = { bytes: 20, magic: 0x0200_0000 };
/** The same for one user namespace, by its root. */
const VERSION_3 = { bytes: 24, magic: 0x0300_0000 };
const EFFECTIVE = 1;
/** Physical, so that no link is followed; values in hexadecimal. */
const GETFATTR = [
  'getfattr',
  '-hRPd',
  '-m',
  `^${NAME.replace('.', '\\.')}$`,
  '-e',
  'hex',
  '--absolute-names',
  '--',
] as const;
const FOUND = new RegExp(`^# file: (.*)\\n${NAME.replace('.', '\\.')}=0x([0-9a-f]+)$`, 'gm');
/** A tree of millions of files on a slow disk. */
const LOOK_TIMEOUT_MS = 10 * 60_000;
/** As many names as fit among the arguments of a program. */
const PLACES_AT_ONCE = 200;

/** @returns version 2 of the attribute; undefined where it is neither that nor version 3 for root */
export function capabilitiesOf(attribute: Buffer): Buffer | undefined {
  const data = Buffer.from(attribute);
  if (data.length !== VERSION_2.bytes && data.length !== VERSION_3.bytes) return undefined;
  const magic = data.readUInt32LE(0);
  const version = data.length === VERSION_2.bytes ? VERSION_2 : VERSION_3;
  const isForRoot = version === VERSION_2 || data.readUInt32LE(VERSION_2.bytes) === 0;
  if ((magic & ~EFFECTIVE) !== version.magic || !isForRoot) return undefined;
  data.writeUInt32LE(VERSION_2.magic | (magic & EFFECTIVE), 0);
  return data.subarray(0, VERSION_2.bytes);
}

/** @param host a plain file in a tree that nothing else changes meanwhile */
export async function giveCapabilities(host: string, capabilities: Buffer): Promise<void> {
  const value = `0x${capabilities.toString('hex')}`;
  const fd = openSync(raw(host), constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    // A program is told names as text, and one that is none would be another.
    await run(['setfattr', '-n', NAME, '-v', value, `/proc/${process.pid}/fd/${fd}`]);
  } finally {
    closeSync(fd);
  }
}

/**
 * The files with capabilities at and below paths of the host.
 * @param hosts absolute, below a directory whose name is text
 * @returns what they have by their paths as text, of `MAX_CAPABLE` files at most
 */
export async function capableFiles(hosts: readonly string[]): Promise<ReadonlyMap<string, Buffer>> {
  const found = new Map<string, Buffer>();
  const places = [...new Set(hosts.map(textAbove))];
  for (let at = 0; at < places.length; at += PLACES_AT_ONCE) {
    const argv = [...GETFATTR, ...places.slice(at, at + PLACES_AT_ONCE)] as const;
    const { stdout } = await run(argv, { timeoutMs: LOOK_TIMEOUT_MS });
    for (const [, path = '', hex = ''] of stdout.matchAll(FOUND)) {
      const capabilities = capabilitiesOf(Buffer.from(hex, 'hex'));
      if (capabilities && found.size < MAX_CAPABLE) found.set(unquoted(path), capabilities);
    }
  }
  return found;
}

/** A program can be told names that are text: of another one the directory that it is in. */
function textAbove(host: string): string {
  let place = host;
  while (toBytes(fromBytes(place)) !== place) place = dirname(place);
  return fromBytes(place);
}

const unquoted = (path: string): string =>
  path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
