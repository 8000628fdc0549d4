import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FairShare } from './fair-share.ts';

test('one client gets its share and no more, and a place that was given back twice counts once', () => {
  const places = new FairShare({ total: 10, perClient: 2 });
  const first = places.take('a', assert.fail);
  const second = places.take('a', assert.fail);
  assert.equal(places.take('a', assert.fail), undefined);
  first?.();
  first?.();
  assert.ok(places.take('a', assert.fail));
  assert.equal(places.take('a', assert.fail), undefined);
  second?.();
  assert.ok(places.take('a', assert.fail));
});

test('clients that fill it together make room for another, oldest first; nobody loses more than it has over the others', () => {
  const places = new FairShare({ total: 6, perClient: 4 });
  const evicted: string[] = [];
  for (const name of ['a1', 'a2', 'a3', 'a4', 'b1', 'b2']) {
    assert.ok(places.take(name.slice(0, 1), () => evicted.push(name)));
  }
  assert.ok(places.take('c', () => {}));
  assert.ok(places.take('c', () => {}));
  assert.deepEqual(evicted, ['a1', 'a2']);
  assert.equal(
    places.take('c', () => {}),
    undefined,
    'all have the same',
  );
});

test('whoever takes and gives back whatever: bounds hold, and one that has nothing gets in while there are fewer clients than places', () => {
  const steps = fc.array(fc.record({ client: fc.constantFrom(...'abcdefgh'), take: fc.boolean() }), {
    maxLength: 100,
  });
  fc.assert(
    fc.property(
      fc.integer({ min: 8, max: 12 }),
      fc.integer({ min: 1, max: 6 }),
      steps,
      (total, perClient, moves) => {
        const places = new FairShare({ total, perClient });
        const held = new Map<string, Set<{ giveBack: () => void }>>(
          [...'abcdefgh'].map((name) => [name, new Set()]),
        );
        for (const { client, take } of moves) {
          const own = held.get(client) ?? assert.fail();
          const before = own.size;
          if (take) {
            const place = { giveBack: () => {} };
            const got = places.take(client, () => own.delete(place));
            if (got) own.add(Object.assign(place, { giveBack: got }));
            assert.ok(got || before > 0);
          } else {
            for (const place of [...own].slice(0, 1)) {
              place.giveBack();
              own.delete(place);
            }
          }
          const sizes = [...held.values()].map(({ size }) => size);
          assert.ok(sizes.every((size) => size <= perClient));
          assert.ok(sizes.reduce((sum, size) => sum + size, 0) <= total);
        }
      },
    ),
  );
});
