import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from './command.ts';
import { nodeFlags } from './node-flags.ts';

/** Moves 200 MiB through short-lived buffers beside a heap of some size, and says how often that was marked. */
const program = `
  let marked = 0;
  new PerformanceObserver((list) => {
    marked += list.getEntries().filter(({ detail }) => detail.kind === 4).length;
  }).observe({ entryTypes: ['gc'] });
  const kept = Array.from({ length: 3e5 }, (_, index) => ({ index }));
  let moved = 0;
  const move = () => {
    for (let count = 0; count < 16; count++) moved += Buffer.alloc(65536).length;
    if (moved < 200 << 20) setImmediate(move);
    else setTimeout(() => console.log(marked), kept.length > 0 ? 50 : 0);
  };
  move();
`;

test('Node takes the words, and with them marks its heap less often for bytes that pass through', async () => {
  const marked = async (flags: readonly string[]) =>
    Number((await run([process.execPath, ...flags, '--eval', program])).stdout);
  const [without, withThem] = [await marked([]), await marked(nodeFlags)];
  assert.ok(withThem < without, `${withThem} times instead of ${without}`);
});
