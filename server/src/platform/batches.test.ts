import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Batches } from './batches.ts';

test('does together what came while a batch was under way, as many as one may have, each once', async () => {
  const done: (readonly number[])[] = [];
  const gate = Promise.withResolvers<void>();
  const batches = new Batches<number>(3, async (items) => {
    done.push(items);
    await gate.promise;
  });
  const asked = [1, 2, 2, 3, 4].map((item) => batches.add(item));
  assert.deepEqual(done, [[1]]);
  gate.resolve();
  await Promise.all(asked);
  assert.deepEqual(done, [[1], [2, 3], [4]]);
});

test('when one of several fails, the others are done all the same, and it alone has its error', async () => {
  const done: (readonly string[])[] = [];
  const batches = new Batches<string>(10, async (items) => {
    if (items.includes('bad')) throw new Error(`no: ${items}`);
    done.push(items);
  });
  const asked = ['first', 'a', 'bad', 'b'].map((item) => batches.add(item));
  const outcomes = await Promise.allSettled(asked);
  assert.deepEqual(done, [['first'], ['a'], ['b']]);
  assert.deepEqual(
    outcomes.map((outcome) => (outcome.status === 'rejected' ? String(outcome.reason) : 'done')),
    ['done', 'done', 'Error: no: bad', 'done'],
  );
  await batches.add('later');
  assert.deepEqual(done.at(-1), ['later']);
});
