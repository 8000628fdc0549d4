import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quantile, summarize } from './statistics.ts';

test('a summary has the middle of an odd number of samples and the mean of the two middle ones of an even number', () => {
  assert.deepEqual(summarize([30, 10, 20]), { count: 3, min: 10, median: 20, p95: 30, p99: 30, max: 30 });
  assert.deepEqual(summarize([4, 1, 3, 2]), { count: 4, min: 1, median: 2.5, p95: 4, p99: 4, max: 4 });
  assert.deepEqual(summarize([7]), { count: 1, min: 7, median: 7, p95: 7, p99: 7, max: 7 });
  assert.throws(() => summarize([]), RangeError);
});

test('so large a share of the samples does not exceed a quantile', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.deepEqual(
    [0.01, 0.5, 0.95, 0.99, 1].map((share) => quantile(hundred, share)),
    [1, 50, 95, 99, 100],
  );
  assert.equal(quantile([7], 0.5), 7);
  assert.throws(() => quantile([], 0.5), RangeError);
});
