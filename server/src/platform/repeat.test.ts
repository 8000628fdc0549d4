import assert from 'node:assert/strict';
import { test } from 'node:test';
import { repeat } from './repeat.ts';

test('goes on after chores that throw or reject, and keeps none of the others from running', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const told: string[] = [];
  const ran: string[] = [];
  const error = (fields: object) => {
    if ('chore' in fields && 'err' in fields) told.push(`${fields.chore}: ${fields.err}`);
  };
  const stop = repeat(
    1000,
    [
      {
        name: 'full',
        run: () => {
          throw new Error('database or disk is full');
        },
      },
      { name: 'late', run: () => Promise.reject(new Error('no')) },
      { name: 'well', run: () => ran.push('well') },
    ],
    { error },
  );
  const turn = async () => {
    t.mock.timers.tick(1000);
    await new Promise(setImmediate);
  };
  await turn();
  await turn();
  assert.deepEqual(ran, ['well', 'well']);
  const each = ['full: Error: database or disk is full', 'late: Error: no'];
  assert.deepEqual(told, [...each, ...each]);
  stop();
  await turn();
  assert.equal(ran.length, 2);
});

test('begins no chore that still goes on', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let begun = 0;
  const gate = Promise.withResolvers<void>();
  const run = () => {
    begun++;
    return gate.promise;
  };
  const stop = repeat(10, [{ name: 'slow', run }], { error: () => {} });
  t.mock.timers.tick(30);
  assert.equal(begun, 1);
  gate.resolve();
  await new Promise(setImmediate);
  t.mock.timers.tick(10);
  assert.equal(begun, 2);
  stop();
});
