import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '../telemetry/logger.ts';
import { Ledger } from './ledger.ts';

const open = () => new Ledger(createLogger('silent'), 1);

test('writes at once where it can, and later in the order of what was told', async () => {
  const ledger = open();
  const written: string[] = [];
  const all = Promise.withResolvers<void>();
  let full = false;
  const write = (text: string) => () => {
    if (full) throw new Error('database or disk is full');
    written.push(text);
  };
  ledger.tell('a', write('a1'));
  assert.deepEqual(written, ['a1']);
  full = true;
  ledger.tell('a', write('a2'));
  ledger.tell(undefined, write('event'));
  ledger.tell('b', write('b1'), () => all.resolve());
  ledger.tell('a', write('a3'));
  assert.deepEqual([written, ledger.behind], [['a1'], 3]);
  full = false;
  ledger.tell('c', write('c1'));
  assert.deepEqual(written, ['a1'], 'nothing overtakes what waits');
  await all.promise;
  assert.deepEqual(written.slice(0, 4), ['a1', 'a3', 'event', 'b1']);
  ledger.close();
  assert.deepEqual([written.at(-1), ledger.behind], ['c1', 0]);
});

test('what has no key is bounded, and a closed ledger tries once more', () => {
  const ledger = open();
  let full = true;
  let events = 0;
  const write = () => {
    if (full) throw new Error('full');
    events++;
  };
  for (let i = 0; i < 3000; i++) ledger.tell(undefined, write);
  ledger.tell('end', write);
  assert.equal(ledger.behind, 1001);
  full = false;
  ledger.close();
  assert.equal(events, 1001);
});

test('a listener that throws neither ends the timer nor has its write done again', async () => {
  const ledger = open();
  const written: string[] = [];
  const all = Promise.withResolvers<void>();
  let full = false;
  const write = (text: string) => () => {
    if (full) throw new Error('database or disk is full');
    written.push(text);
  };
  const broken = () => {
    throw new Error('listener');
  };
  ledger.tell('a', write('a'), broken);
  full = true;
  ledger.tell('b', write('b'), broken);
  ledger.tell('c', write('c'), () => all.resolve());
  full = false;
  await all.promise;
  assert.deepEqual([written, ledger.behind], [['a', 'b', 'c'], 0]);
  ledger.close();
});
