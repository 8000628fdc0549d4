/** Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) over a plain response. */
import type { FastifyReply } from 'fastify';
import { LiveAnswer } from './live-answer.ts';

export class EventStream {
  readonly #answer: LiveAnswer;

  /** `signal` is aborted when the caller hangs up. */
  constructor(reply: FastifyReply, signal: AbortSignal) {
    const contentType = 'text/event-stream; charset=utf-8';
    this.#answer = new LiveAnswer(reply, signal, { contentType, nothing: ': still here\n\n' });
  }

  /** Sends one event; resolves when the caller's connection has room for more. @throws the signal's reason */
  async send(event: string, data: unknown, id?: string): Promise<void> {
    // JSON has no raw newlines, so one data line is enough.
    const lines = `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
    await this.#answer.send(lines);
  }

  end(): void {
    this.#answer.end();
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
