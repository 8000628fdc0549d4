/** Output cut so that no character is torn: older Python clients decode each message by itself. */

/**
 * The bytes of `source`, where a character's beginning at the end of a chunk waits for its rest. Bytes that are no UTF-8 pass as they are, and so does
 * what is incomplete at the end.
 */
export async function* wholeCharacters(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let held: Uint8Array = new Uint8Array();
  for await (const chunk of source) {
    const bytes = held.length > 0 ? Buffer.concat([held, chunk]) : chunk;
    const torn = tornLength(bytes);
    held = bytes.subarray(bytes.length - torn);
    if (torn < bytes.length) yield bytes.subarray(0, bytes.length - torn);
  }
  if (held.length > 0) yield held;
}

/** How many bytes at the end (0 to 3) begin a character without ending it. RFC 3629, section 3. */
function tornLength(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return 0;
    if (byte < 0xc0) continue; // a continuation: its beginning is further back
    const length = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : byte < 0xf8 ? 4 : 1;
    return length > back ? back : 0;
  }
  return 0;
}
