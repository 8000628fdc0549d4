/** Bodies of requests that are counted as they come. */
import { SkerryError } from '../../errors/skerry-error.ts';

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
