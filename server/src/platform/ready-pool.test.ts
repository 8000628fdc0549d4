import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ReadyPool } from './ready-pool.ts';

const turn = () => new Promise(setImmediate);

/** A pool of two over slots that are made when the test says so. */
function open(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let next = 0;
  const making: { slots: readonly number[]; done: PromiseWithResolvers<void> }[] = [];
  const warned: string[] = [];
  const machine = { isBusy: false };
  const pool = new ReadyPool({
    name: 'network',
    size: 2,
    delayMs: 100,
    isBusy: () => machine.isBusy,
    claim: (count) => Array.from({ length: Math.max(0, count) }, () => ++next),
    make: (slots) => {
      const done = Promise.withResolvers<void>();
      making.push({ slots, done });
      return done.promise;
    },
    logger: { warn: (_fields, event) => warned.push(event) },
  });
  const made = async (which: number) => {
    making[which]?.done.resolve();
    await turn();
  };
  return { pool, making, made, warned, machine };
}

test('is filled up after one was taken', async (t) => {
  const { pool, making, made } = open(t);
  pool.refill();
  await made(0);
  assert.equal(pool.take(), 1);
  t.mock.timers.tick(100);
  assert.deepEqual(making[1]?.slots, [3]);
  await made(1);
  assert.deepEqual(await pool.close(), [2, 3]);
});

test('a refill waits while starts are under way, up to ten times as long', async (t) => {
  const { pool, making, made, machine } = open(t);
  pool.refill();
  await made(0);
  machine.isBusy = true;
  pool.take();
  for (let waited = 100; waited < 500; waited += 100) t.mock.timers.tick(100);
  assert.equal(making.length, 1);
  machine.isBusy = false;
  t.mock.timers.tick(100);
  assert.deepEqual(making[1]?.slots, [3]);
  await made(1);
  machine.isBusy = true;
  pool.take();
  for (let waited = 0; waited < 900; waited += 100) t.mock.timers.tick(100);
  assert.equal(making.length, 2);
  t.mock.timers.tick(100);
  assert.deepEqual(making[2]?.slots, [4]);
  await made(2);
  await pool.close();
});

test('is filled up also when the last ones were taken while a refill was under way', async (t) => {
  const { pool, making, made } = open(t);
  pool.refill();
  await made(0);
  pool.take();
  t.mock.timers.tick(100); // slot 3 is being made
  pool.take();
  t.mock.timers.tick(100); // its refill finds that one under way
  await made(1);
  t.mock.timers.tick(100);
  assert.deepEqual(making[2]?.slots, [4]);
  await made(2);
  assert.deepEqual(await pool.close(), [3, 4]);
});

test('a refill that fails is told, and tried again when the next one is taken', async (t) => {
  const { pool, making, made, warned } = open(t);
  pool.refill();
  making[0]?.done.reject(new Error('no'));
  await turn();
  assert.deepEqual(warned, ['network.refill-failed']);
  assert.equal(pool.take(), undefined);
  t.mock.timers.tick(100);
  await made(1);
  assert.deepEqual(await pool.close(), [3, 4]);
});

test('a closed pool waits for what is being made and makes nothing more', async (t) => {
  const { pool, making, made } = open(t);
  pool.refill();
  const closing = pool.close();
  await made(0);
  assert.deepEqual(await closing, [1, 2]);
  pool.take();
  pool.refill();
  t.mock.timers.tick(1000);
  assert.equal(making.length, 1);
});
