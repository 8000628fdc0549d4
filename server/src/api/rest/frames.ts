/**
 * A process's output as one body: frames of a kind (1 byte), a length (4 bytes, big-endian) and that many bytes. Binary-safe, and readable by anything that
 * has `fetch`. `sdk/src/frames.ts` reads it.
 *
 *   0  nothing; keeps proxies from closing a stream in which nothing happens
 *   1  bytes of stdout
 *   2  bytes of stderr
 *   3  the exit, as JSON (ProcessExit); the last one
 *   4  why there is no more, as JSON (ErrorAnswer); the last one
 */
import type { FastifyReply } from 'fastify';
import { LiveAnswer } from '../http/live-answer.ts';

export const FRAMES_TYPE = 'application/vnd.skerry.frames';
const HEADER_BYTES = 5;

const kinds = { nothing: 0, stdout: 1, stderr: 2, exit: 3, error: 4 } as const;

export class FrameStream {
  readonly #answer: LiveAnswer;

  /** Sends the headers. `signal` is aborted when the caller hangs up. */
  constructor(reply: FastifyReply, signal: AbortSignal) {
    const nothing = frame(kinds.nothing, new Uint8Array());
    this.#answer = new LiveAnswer(reply, signal, { contentType: FRAMES_TYPE, nothing });
    this.#answer.begin();
  }

  /** Sends output; resolves when the caller's connection has room for more. @throws the signal's reason */
  send(stream: 'stdout' | 'stderr', bytes: Uint8Array): Promise<void> {
    return this.#answer.send(frame(kinds[stream], bytes));
  }

  /** The last frame that has something to say. */
  tell(kind: 'exit' | 'error', value: object): void {
    this.#answer.tell(frame(kinds[kind], Buffer.from(JSON.stringify(value))));
  }

  end(): void {
    this.#answer.end();
  }
}

function frame(kind: number, bytes: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(HEADER_BYTES + bytes.length);
  framed[0] = kind;
  framed.writeUInt32BE(bytes.length, 1);
  framed.set(bytes, HEADER_BYTES);
  return framed;
}
