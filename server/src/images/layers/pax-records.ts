/** What the extended header of an archive's entry is made of, `<length> <key>=<value>\n`: pax(1) of POSIX. */

/** Keys and values are byte strings, since values may hold any bytes. */
export interface PaxRecord {
  readonly key: string;
  readonly value: string;
  /** As it is in the header. */
  readonly whole: Buffer;
}

/** @returns undefined for what is no such header */
export function paxRecords(data: Buffer): readonly PaxRecord[] | undefined {
  const records: PaxRecord[] = [];
  // Some programs fill the header up with zeros.
  for (let at = 0; at < data.length && data[at] !== 0; ) {
    const space = data.indexOf(' ', at);
    const length = Number(data.toString('latin1', at, space));
    const end = at + length;
    const equals = data.indexOf('=', space);
    if (space < 0 || !Number.isInteger(length) || equals < 0 || equals >= end || end > data.length)
      return undefined;
    const key = data.toString('latin1', space + 1, equals);
    const value = data.toString('latin1', equals + 1, end - 1);
    records.push({ key, value, whole: data.subarray(at, end) });
    at = end;
  }
  return records;
}
