/** Bodies of requests that are counted as they come. */
import { Readable } from 'node:stream';
import type { FastifyRequest } from 'fastify';
import { SkerryError } from '../../errors/skerry-error.ts';

/** The body of a request that nothing has parsed. Who stops reading before its end can still answer. */
export async function* bodyOf({
  body,
  raw,
}: Pick<FastifyRequest, 'body' | 'raw'>): AsyncGenerator<Uint8Array> {
  // Without a content type there is no body to parse, and the stream is still on the request.
  const stream: Readable = body instanceof Readable ? body : raw;
  try {
    // Ended early it would take the connection with it, and the answer.
    yield* stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>;
  } finally {
    stream.resume();
  }
}

/** @throws SkerryError `too-large` at the first byte too many */
export async function* bounded(
  body: AsyncIterable<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const piece of body) {
    size += piece.length;
    if (size > maxBytes) {
      throw new SkerryError('too-large', `A file may have at most ${maxBytes} bytes.`, {
        details: { path: 'body' },
      });
    }
    yield piece;
  }
}
