import assert from 'node:assert/strict';
import { test } from 'node:test';
import { once } from './once.ts';

test('what is made once is there for all who ask, and is tried again after a failure', async () => {
  let calls = 0;
  const answers = [Promise.withResolvers<string>(), Promise.withResolvers<string>()] as const;
  const make = once(async () => answers[calls++ === 0 ? 0 : 1].promise);
  const [first, second] = [make(), make()];
  answers[0].reject(new Error('not yet'));
  await assert.rejects(first, /not yet/);
  await assert.rejects(second, /not yet/);
  answers[1].resolve('made');
  assert.deepEqual(await Promise.all([make(), make()]), ['made', 'made']);
  assert.equal(await make(), 'made');
  assert.equal(calls, 2);
});
