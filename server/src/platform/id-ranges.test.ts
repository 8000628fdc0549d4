import assert from 'node:assert/strict';
import { test } from 'node:test';
import { firstIdOf, givenToOthers, IDS_EACH, LAST_SLOT_WITH_IDS } from './id-ranges.ts';

test('every slot of a server has ids of its own, which nobody else is given', () => {
  for (const instance of ['00000000', 'ffffffff', '95cc0d41']) {
    const all = Array.from({ length: LAST_SLOT_WITH_IDS }, (_, index) => firstIdOf(instance, index + 1));
    assert.equal(new Set(all).size, all.length);
    assert.ok(all.every((first) => first % IDS_EACH === 0));
    assert.ok(Math.min(...all) >= 0x70000000 && Math.max(...all) + IDS_EACH <= 0x7ffe0000);
  }
  assert.notEqual(firstIdOf('00000001', 1), firstIdOf('00000011', 1));
});

test('ids that are given to users of the machine are found', () => {
  assert.deepEqual(givenToOthers('ann:100000:65536\nbob:165536:65536\n'), []);
  assert.deepEqual(givenToOthers('ann:100000:65536\nbob:1879048000:65536\n'), ['bob:1879048000:65536']);
  assert.deepEqual(givenToOthers('all:100000:4000000000'), ['all:100000:4000000000']);
  assert.deepEqual(givenToOthers('after:2147352576:65536'), []);
});
