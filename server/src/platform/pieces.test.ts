import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addPiece } from './pieces.ts';

test('a list of pieces is as long as its bytes need, however they were cut', () => {
  const sizes = [
    ...Array<number>(10_000).fill(1),
    65_536,
    ...Array<number>(100).fill(3000),
    ...Array<number>(100).fill(0),
  ];
  const pieces: Buffer[] = [];
  let sent = Buffer.alloc(0);
  for (const [index, size] of sizes.entries()) {
    const piece = Buffer.alloc(size, index);
    sent = Buffer.concat([sent, piece]);
    addPiece(pieces, piece);
  }
  assert.ok(Buffer.concat(pieces).equals(sent));
  // Any two neighbours are more than 4 KiB together.
  assert.ok(pieces.length <= (2 * sent.length) / 4096 + 1, `${pieces.length}`);
});
