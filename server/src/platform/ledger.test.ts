import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '../telemetry/logger.ts';
import { Ledger } from './ledger.ts';

const open = () => new Ledger(createLogger('silent'), 1);

/** A store that takes nothing while it is full. */
class Disk {
  full = false;
  readonly written: string[] = [];

  write(text: string): () => void {
    return () => {
      if (this.full) throw new Error('database or disk is full');
      this.written.push(text);
    };
  }
}

test('writes at once where it can, and later in the order of what was told', async () => {
  const ledger = open();
  const disk = new Disk();
  const { written } = disk;
  const all = Promise.withResolvers<void>();
  ledger.tell('a', disk.write('a1'));
  assert.deepEqual(written, ['a1']);
  disk.full = true;
  ledger.tell('a', disk.write('a2'));
  ledger.tell(undefined, disk.write('event'));
  ledger.tell('b', disk.write('b1'), () => all.resolve());
  ledger.tell('a', disk.write('a3'));
  assert.deepEqual([written, ledger.behind], [['a1'], 3]);
  disk.full = false;
  ledger.tell('c', disk.write('c1'));
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
  const disk = new Disk();
  const { written } = disk;
  const all = Promise.withResolvers<void>();
  const broken = () => {
    throw new Error('listener');
  };
  ledger.tell('a', disk.write('a'), broken);
  disk.full = true;
  ledger.tell('b', disk.write('b'), broken);
  ledger.tell('c', disk.write('c'), () => all.resolve());
  disk.full = false;
  await all.promise;
  assert.deepEqual([written, ledger.behind], [['a', 'b', 'c'], 0]);
  ledger.close();
});
