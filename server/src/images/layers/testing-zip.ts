/** Zip archives for tests, hostile ones too: stored entries as https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT has them. */
import { crc32 } from 'node:zlib';

export interface ZipMember {
  readonly name: string;
  readonly content: string | Buffer;
  /** Permission bits, as archives made on Unix have them. */
  readonly mode?: number;
  /** What the archive claims, the content's length by default. */
  readonly claimedSize?: number;
}

export function makeZip(members: readonly ZipMember[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, content, mode, claimedSize } of members) {
    const data = Buffer.from(content);
    const nameBytes = Buffer.from(name);
    const shared = Buffer.alloc(26);
    shared.writeUInt16LE(20, 0);
    shared.writeUInt16LE(0x800, 2); // names in UTF-8
    shared.writeUInt32LE(crc32(data), 10);
    shared.writeUInt32LE(data.length, 14);
    shared.writeUInt32LE(claimedSize ?? data.length, 18);
    shared.writeUInt16LE(nameBytes.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), shared, nameBytes, data]);
    const central = Buffer.alloc(14);
    central.writeUInt32LE(((mode ?? 0) << 16) >>> 0, 6);
    central.writeUInt32LE(offset, 10);
    directory.push(
      Buffer.from('PK\x01\x02'),
      Buffer.from([20, mode === undefined ? 0 : 3]),
      shared,
      central,
      nameBytes,
    );
    parts.push(local);
    offset += local.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(members.length, 4);
  end.writeUInt16LE(members.length, 6);
  end.writeUInt32LE(central.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...parts, central, Buffer.from('PK\x05\x06'), end]);
}
