import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Limiter } from './limiter.ts';

test('runs so many at once, the others in the order they came, and tells when all are done', async () => {
  const limiter = new Limiter(2);
  const order: string[] = [];
  const gates = new Map(['a', 'b', 'c', 'd'].map((name) => [name, Promise.withResolvers<void>()]));
  const runs = [...gates].map(([name, gate]) =>
    limiter.run(async () => {
      order.push(name);
      await gate.promise;
    }),
  );
  const idle = limiter.idle();
  assert.deepEqual([order, limiter.waiting], [['a', 'b'], 2]);
  gates.get('b')?.resolve();
  await runs[1];
  assert.deepEqual(order, ['a', 'b', 'c']);
  for (const gate of gates.values()) gate.resolve();
  await Promise.all(runs);
  await idle;
  assert.deepEqual(order, ['a', 'b', 'c', 'd']);
});

test('a task that fails gives its place to the next', async () => {
  const limiter = new Limiter(1);
  await assert.rejects(
    limiter.run(() => Promise.reject(new Error('no'))),
    /no/,
  );
  assert.equal(await limiter.run(async () => 'next'), 'next');
});
