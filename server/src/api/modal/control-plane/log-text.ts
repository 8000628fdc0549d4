/** Output as text: the log messages of the wire are strings, so bytes are cut between characters and what is no UTF-8 is replaced. */
import type { OutputReader } from '../../../sandboxes/sandboxes.ts';

export interface LogText {
  readonly text: string;
  /** Offset of the byte after it: where a reader goes on. */
  readonly endOffset: number;
}

/** Bytes at the end of `bytes` that begin a character without finishing it, 0 to 3. */
export function unfinishedTail(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0b1100_0000) === 0b1000_0000) continue; // a continuation byte: its first byte is further back
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

/** Text from `offset`, following live output until it ends. Every item has at least one character. */
export async function* followText(
  output: OutputReader,
  offset: number,
  signal: AbortSignal,
): AsyncGenerator<LogText> {
  let rest = Buffer.alloc(0);
  let endOffset = offset;
  for await (const chunk of output.read(offset, signal)) {
    const bytes = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
    const whole = bytes.length - unfinishedTail(bytes);
    rest = Buffer.from(bytes.subarray(whole));
    if (whole === 0) continue;
    endOffset += whole;
    yield { text: bytes.toString('utf8', 0, whole), endOffset };
  }
  if (rest.length > 0) yield { text: rest.toString('utf8'), endOffset: endOffset + rest.length };
}

/** A line with its line feed, or a last one without. */
export interface LogLine {
  readonly text: string;
  /** When its last byte came; undefined where that was not noted. */
  readonly timeMs: number | undefined;
}

/** The lines in the last `maxBytes` of what there is now; a live stream is not waited for. */
export async function currentLines(
  output: OutputReader,
  maxBytes: number,
  signal: AbortSignal,
): Promise<LogLine[]> {
  const end = output.length;
  const start = Math.max(0, end - maxBytes);
  const bytes = await bytesBetween(output, start, end, signal);
  const times = output.times();
  const lines: LogLine[] = [];
  let mark = -1;
  for (let from = 0; from < bytes.length; ) {
    const feed = bytes.indexOf(0x0a, from);
    const to = feed < 0 ? bytes.length : feed + 1;
    while ((times[mark + 1]?.offset ?? Number.POSITIVE_INFINITY) < start + to) mark++;
    lines.push({ text: bytes.toString('utf8', from, to), timeMs: times[mark]?.timeMs });
    from = to;
  }
  return lines;
}

async function bytesBetween(
  output: OutputReader,
  start: number,
  end: number,
  signal: AbortSignal,
): Promise<Buffer> {
  if (end === start) return Buffer.alloc(0);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of output.read(start, signal)) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= end - start) break;
  }
  return Buffer.concat(chunks).subarray(0, end - start);
}
