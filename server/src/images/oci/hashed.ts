import type { Hash } from 'node:crypto';

/** A stage of a pipeline that passes its bytes on, and has them in the hash. */
export const hashedBy = (hash: Hash) =>
  async function* (pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const piece of pieces) {
      hash.update(piece);
      yield piece;
    }
  };
