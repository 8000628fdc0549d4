import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OnePerKey } from './one-per-key.ts';

test('tasks of one key follow one another, whatever became of those before; other keys do not wait', async () => {
  const turns = new OnePerKey<string>();
  const seen: string[] = [];
  const hold = Promise.withResolvers<void>();
  const first = turns.run('a', async () => {
    seen.push('first begins');
    await hold.promise;
    seen.push('first ends');
    throw new Error('failed');
  });
  const second = turns.run('a', async () => {
    seen.push('second');
    return 2;
  });
  assert.equal(await turns.run('b', async () => 'other'), 'other');
  assert.deepEqual(seen, ['first begins']);
  hold.resolve();
  await assert.rejects(first, /failed/);
  assert.equal(await second, 2);
  assert.equal(await turns.run('a', async () => 3), 3);
  assert.deepEqual(seen, ['first begins', 'first ends', 'second']);
});
