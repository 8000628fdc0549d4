/** A process's output on its way to an HTTP caller: bounded, as text, and not waiting for grandchildren. */
import { withDeadline } from '../../platform/wait.ts';
import type { OutputReader, Process } from '../../sandboxes/sandboxes.ts';
import type { ProcessExit } from '../../sandboxes/state.ts';

export type StreamName = 'stdout' | 'stderr';
/** What is followed: a process, or what stands for one that has not started. */
export type Output = Pick<Process, 'stdout' | 'stderr' | 'exit' | 'wait'>;
/** Takes a piece of output; false = no more of this stream is wanted. */
export type OutputHandler = (stream: StreamName, chunk: Uint8Array) => boolean | Promise<boolean>;

/**
 * A background grandchild may hold the pipes open after the command's exit. What the command itself wrote is in the pipe by then, so once nothing
 * came for this long, its output is taken to be complete…
 */
const QUIET_MS = 150;
/** … and a grandchild that keeps writing is not listened to for longer than this. */
const MAX_DRAIN_MS = 1000;

/**
 * Follows the streams, from their starts or from where the caller is (those not named not at all), until the process exited and its output was handed over, however
 * slowly the caller takes it.
 * @throws the signal's reason when aborted, and whatever the handler throws
 */
export async function followToExit(
  process: Output,
  onOutput: OutputHandler,
  signal: AbortSignal,
  from: Readonly<Partial<Record<StreamName, number>>> = { stdout: 0, stderr: 0 },
): Promise<ProcessExit> {
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  /** From then on nothing is waited for: what there is is all. */
  const complete = new AbortController();
  const live = AbortSignal.any([either, complete.signal]);
  const follow = async (name: StreamName) => {
    let at = from[name];
    if (at === undefined) return;
    const reader = process[name];
    try {
      for await (const chunk of reader.read(at, live)) {
        at += chunk.length;
        if (!(await onOutput(name, chunk))) return;
      }
    } catch (error) {
      if (error !== complete.signal.reason) throw error;
      for await (const chunk of readUpTo(reader, at, reader.length, either)) {
        if (!(await onOutput(name, chunk))) return;
      }
    }
  };
  const streams = Promise.all([follow('stdout'), follow('stderr')]);
  streams.catch(() => {}); // awaited below, unless the wait for the exit fails first
  try {
    // The race lets a failing handler end the wait.
    const exit = await Promise.race([process.wait(either), streams.then(() => process.wait(either))]);
    const length = () => process.stdout.length + process.stderr.length;
    const rounds = Math.ceil(MAX_DRAIN_MS / QUIET_MS);
    for (let round = 0, before = -1; round < rounds && before !== length(); round++) {
      before = length();
      if ((await withDeadline(streams, QUIET_MS, signal)) !== undefined) return exit;
    }
    complete.abort();
    await streams;
    return exit;
  } finally {
    stop.abort();
  }
}

/** What a stream has from one offset to another, which it has reached. @throws the signal's reason */
export async function* readUpTo(
  reader: OutputReader,
  from: number,
  to: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  let left = to - from;
  if (left <= 0) return;
  for await (const bytes of reader.read(from, signal)) {
    yield bytes.subarray(0, left);
    left -= bytes.length;
    if (left <= 0) return;
  }
}

/** The first `limit` bytes of a stream. */
export class HeadBuffer {
  readonly #limit: number;
  readonly #chunks: Uint8Array[] = [];
  #size = 0;
  #truncated = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** False once a byte had to be dropped. */
  add(chunk: Uint8Array): boolean {
    const room = this.#limit - this.#size;
    if (chunk.length > room) this.#truncated = true;
    const kept = chunk.subarray(0, room);
    this.#chunks.push(kept);
    this.#size += kept.length;
    return !this.#truncated;
  }

  get truncated(): boolean {
    return this.#truncated;
  }

  /** As UTF-8, invalid bytes replaced; a character that the bound cut through is left out. */
  text(): string {
    return new TextDecoder().decode(Buffer.concat(this.#chunks), { stream: this.#truncated });
  }
}

/**
 * The text between `offset` and what is there now, at most `maxBytes`, and where to go on. A character whose last bytes have not come yet stays for the next call.
 */
export async function textFrom(
  reader: OutputReader,
  offset: number,
  maxBytes: number,
  signal: AbortSignal,
): Promise<{ readonly text: string; readonly nextOffset: number }> {
  const wanted = Math.min(maxBytes, reader.length - offset);
  if (wanted <= 0) return { text: '', nextOffset: offset };
  const chunks: Uint8Array[] = [];
  for await (const chunk of readUpTo(reader, offset, offset + wanted, signal)) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  const atEnd = reader.ended && offset + bytes.length >= reader.length;
  const whole = atEnd ? bytes : bytes.subarray(0, bytes.length - incompleteTail(bytes));
  return { text: new TextDecoder().decode(whole), nextOffset: offset + whole.length };
}

/** How many bytes at the end begin a UTF-8 character that is not complete (RFC 3629, section 3). */
function incompleteTail(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return 0;
    if (byte < 0xc0) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return length > back ? back : 0;
  }
  return 0;
}
