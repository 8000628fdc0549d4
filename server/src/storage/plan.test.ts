import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Bounds, doomedOf, type Kept } from './plan.ts';

const NOW = 1_000_000;
const roomy: Bounds = {
  nowMs: NOW,
  maxAgeMs: Infinity,
  protectMs: 0,
  maxBytes: Number.MAX_SAFE_INTEGER,
  missingBytes: 0,
};

const kept = fc.array(
  fc.record({
    bytes: fc.nat(100),
    lastUsedMs: fc.nat(NOW),
    held: fc.boolean(),
    depth: fc.nat(4),
  }),
);
const bounds = fc.record({
  nowMs: fc.constant(NOW),
  maxAgeMs: fc.oneof(fc.nat(NOW), fc.constant(Infinity)),
  protectMs: fc.nat(NOW),
  maxBytes: fc.nat(1000),
  missingBytes: fc.nat(1000),
});
const total = (some: readonly Kept[]) => some.reduce((sum, { bytes }) => sum + bytes, 0);

test('what is held stays, what goes is older than what stays, and all bounds hold that can', () => {
  fc.assert(
    fc.property(kept, bounds, (all, limits) => {
      const doomed = new Set(doomedOf(all, limits));
      const left = all.filter((one) => !doomed.has(one) && !one.held);
      for (const one of doomed) {
        assert.equal(one.held, false);
        for (const other of left) assert.ok(one.lastUsedMs <= other.lastUsedMs);
      }
      for (const { lastUsedMs } of left) assert.ok(NOW - lastUsedMs <= limits.maxAgeMs, 'nothing too old');
      // Where a bound does not hold, nothing is left that may go for it.
      const crowded = total(left) > limits.maxBytes || total([...doomed]) < limits.missingBytes;
      if (crowded) for (const { lastUsedMs } of left) assert.ok(NOW - lastUsedMs <= limits.protectMs);
      // Nothing went for which there was no reason: without the last one to go something would be wrong.
      const last = [...doomed].at(-1);
      if (last && NOW - last.lastUsedMs <= limits.maxAgeMs) {
        assert.ok(NOW - last.lastUsedMs > limits.protectMs);
        const without = total([...doomed]) - last.bytes;
        assert.ok(total(left) + last.bytes > limits.maxBytes || without < limits.missingBytes);
      }
    }),
    { numRuns: 2000 },
  );
});

test('of what was used at the same time the top goes before what it is on', () => {
  const layers = [0, 1, 2].map((depth) => ({ bytes: 10, lastUsedMs: 5, held: false, depth }));
  assert.deepEqual(
    doomedOf(layers, { ...roomy, missingBytes: 15 }).map(({ depth }) => depth),
    [2, 1],
  );
});

test('where nothing is short and nothing is old, nothing goes', () => {
  fc.assert(fc.property(kept, (all) => assert.deepEqual(doomedOf(all, roomy), [])));
});
