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
import { once } from 'node:events';
import type { FastifyReply } from 'fastify';

export const FRAMES_TYPE = 'application/vnd.skerry.frames';
const KEEP_ALIVE_MS = 15_000;
const HEADER_BYTES = 5;

const kinds = { nothing: 0, stdout: 1, stderr: 2, exit: 3, error: 4 } as const;

export class FrameStream {
  readonly #reply: FastifyReply;
  readonly #signal: AbortSignal;
  readonly #keepAlive: NodeJS.Timeout;

  /** Sends the headers. `signal` is aborted when the caller hangs up. */
  constructor(reply: FastifyReply, signal: AbortSignal) {
    this.#reply = reply;
    this.#signal = signal;
    // Headers that hooks set (CORS) are on the reply and have to be taken along.
    const headers = Object.entries(reply.getHeaders()).filter((entry) => entry[1] !== undefined);
    reply.hijack();
    reply.raw.writeHead(200, {
      ...Object.fromEntries(headers),
      'content-type': FRAMES_TYPE,
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    });
    reply.raw.flushHeaders();
    const nothing = frame(kinds.nothing, new Uint8Array());
    this.#keepAlive = setInterval(() => reply.raw.write(nothing), KEEP_ALIVE_MS);
  }

  /** Sends output; resolves when the caller's connection has room for more. @throws the signal's reason */
  async send(stream: 'stdout' | 'stderr', bytes: Uint8Array): Promise<void> {
    this.#signal.throwIfAborted();
    if (!this.#reply.raw.write(frame(kinds[stream], bytes))) {
      await once(this.#reply.raw, 'drain', { signal: this.#signal });
    }
  }

  /** The last frame that has something to say. */
  tell(kind: 'exit' | 'error', value: object): void {
    this.#reply.raw.write(frame(kinds[kind], Buffer.from(JSON.stringify(value))));
  }

  end(): void {
    clearInterval(this.#keepAlive);
    this.#reply.raw.end();
  }
}

function frame(kind: number, bytes: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(HEADER_BYTES + bytes.length);
  framed[0] = kind;
  framed.writeUInt32BE(bytes.length, 1);
  framed.set(bytes, HEADER_BYTES);
  return framed;
}
