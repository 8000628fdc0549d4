/** Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) over a plain response. */
import { once } from 'node:events';
import type { FastifyReply } from 'fastify';

/** Comments that keep proxies from closing a stream in which nothing happens. */
const KEEP_ALIVE_MS = 15_000;

export class EventStream {
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
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    });
    this.#keepAlive = setInterval(() => reply.raw.write(': still here\n\n'), KEEP_ALIVE_MS);
  }

  /** Sends one event; resolves when the caller's connection has room for more. @throws the signal's reason */
  async send(event: string, data: unknown, id?: string): Promise<void> {
    this.#signal.throwIfAborted();
    // JSON has no raw newlines, so one data line is enough.
    const lines = `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
    if (!this.#reply.raw.write(lines)) await once(this.#reply.raw, 'drain', { signal: this.#signal });
  }

  end(): void {
    clearInterval(this.#keepAlive);
    this.#reply.raw.end();
  }
}

/** Aborted when the caller hangs up before the answer was sent, or when the server closes. */
export function hangUpSignal(reply: FastifyReply, closing: AbortSignal): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort(new Error('the caller hung up'));
  });
  return AbortSignal.any([controller.signal, closing]);
}
