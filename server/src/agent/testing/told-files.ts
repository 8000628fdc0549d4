/** What the program `files` of a sandbox says (agent/PROTOCOL.md, "Files"), true or not. */

export const DIRECTORY = 0o040755;
export const FILE = 0o100644;
export const LINK = 0o120777;

export const u16 = (value: number) => Buffer.from(new Uint16Array([value]).buffer);
export const u32 = (value: number) => Buffer.from(new Uint32Array([value]).buffer);
export const u64 = (value: number) => Buffer.from(new BigUint64Array([BigInt(value)]).buffer);
export const words = (value: string) => Buffer.concat([u16(value.length), Buffer.from(value, 'latin1')]);
export const time = (seconds: number, rest = 0) => Buffer.concat([u64(seconds), u32(rest)]);
export const stat = (mode: number, { uid = 0, links = 1, rest = 0 } = {}) =>
  Buffer.concat([
    ...[u32(mode), u32(uid), u32(0), u64(links), u64(3), u64(0), u64(1), u64(7)],
    ...[time(1), time(1, rest)],
  ]);
export const entry = (mode: number, path: string, link = '', more = {}) =>
  Buffer.concat([Buffer.from('E'), stat(mode, more), words(path), words(link)]);
export const top = entry(DIRECTORY, '');
export const listing = (...entries: readonly Buffer[]) =>
  Buffer.concat([Buffer.from('T'), time(1), ...entries, Buffer.from('.')]);
export const given = (
  mode: number,
  attributes: readonly (readonly [string, Buffer])[] = [],
  content = Buffer.of(),
) =>
  Buffer.concat([
    ...[Buffer.from('F'), stat(mode), u32(attributes.length)],
    ...attributes.flatMap(([name, value]) => [words(name), u32(value.length), value]),
    content,
  ]);
export const chunk = (offset: number, data: Buffer) =>
  Buffer.concat([Buffer.from('c'), u64(offset), u32(data.length), data]);
export const sized = (bytes: number, path: string) => {
  const large = entry(FILE, path);
  return Buffer.concat([large.subarray(0, 21), u64(bytes), large.subarray(29)]);
};
export const size = (value: number) => Buffer.concat([Buffer.from('z'), u64(value)]);
export const answer = (word: string) => Buffer.from(word);
