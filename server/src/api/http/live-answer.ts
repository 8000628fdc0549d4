/** An answer that goes on while there is something to tell: pieces of one body over a plain response, and one that says nothing when nothing happens. */
import { once } from 'node:events';
import type { FastifyReply } from 'fastify';

/** So often something is sent, so that proxies do not close a stream in which nothing happens. */
const KEEP_ALIVE_MS = 15_000;

export class LiveAnswer {
  readonly #reply: FastifyReply;
  readonly #signal: AbortSignal;
  readonly #keepAlive: NodeJS.Timeout;

  /**
   * Prepares the headers, which go with the first piece.
   * @param nothing a piece that tells the reader nothing
   * @param signal is aborted when the caller hangs up
   */
  constructor(
    reply: FastifyReply,
    signal: AbortSignal,
    { contentType, nothing }: { readonly contentType: string; readonly nothing: string | Uint8Array },
  ) {
    this.#reply = reply;
    this.#signal = signal;
    // Headers that hooks set (CORS) are on the reply and have to be taken along.
    const headers = Object.entries(reply.getHeaders()).filter((entry) => entry[1] !== undefined);
    reply.hijack();
    reply.raw.writeHead(200, {
      ...Object.fromEntries(headers),
      'content-type': contentType,
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    });
    this.#keepAlive = setInterval(() => reply.raw.write(nothing), KEEP_ALIVE_MS);
  }

  /** Sends the headers before there is a piece. */
  begin(): void {
    this.#reply.raw.flushHeaders();
  }

  /** Sends a piece; resolves when the caller's connection has room for more. @throws the signal's reason */
  async send(piece: string | Uint8Array): Promise<void> {
    this.#signal.throwIfAborted();
    if (!this.#reply.raw.write(piece)) await once(this.#reply.raw, 'drain', { signal: this.#signal });
  }

  /** Sends a last piece, whoever is there to read it. */
  tell(piece: Uint8Array): void {
    this.#reply.raw.write(piece);
  }

  end(): void {
    clearInterval(this.#keepAlive);
    this.#reply.raw.end();
  }
}
