import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inBatches } from './batches.ts';

async function collect<T>(batches: AsyncIterable<T[]>): Promise<T[][]> {
  const result: T[][] = [];
  for await (const batch of batches) result.push(batch);
  return result;
}

test('what is at hand comes together, at most so much; nothing is lost', async () => {
  async function* source() {
    for (let i = 0; i < 7; i++) yield i;
  }
  assert.deepEqual(await collect(inBatches(source(), 3)), [[0, 1, 2], [3, 4, 5], [6]]);
  assert.deepEqual(await collect(inBatches((async function* () {})(), 3)), []);
});

test('an item does not wait for the next one', async () => {
  const gate = Promise.withResolvers<void>();
  async function* source() {
    yield 1;
    await gate.promise;
    yield 2;
  }
  const batches = inBatches(source(), 10);
  assert.deepEqual((await batches.next()).value, [1]);
  gate.resolve();
  assert.deepEqual((await batches.next()).value, [2]);
  assert.equal((await batches.next()).done, true);
});

test('a failure comes after what was before it, and leaving early closes the source', async () => {
  async function* failing() {
    yield 1;
    throw new Error('broken');
  }
  const batches = inBatches(failing(), 10);
  assert.deepEqual((await batches.next()).value, [1]);
  await assert.rejects(batches.next(), /broken/);

  let closed = false;
  async function* source() {
    try {
      for (let i = 0; ; i++) yield i;
    } finally {
      closed = true;
    }
  }
  for await (const _batch of inBatches(source(), 2)) break;
  assert.equal(closed, true);
});
