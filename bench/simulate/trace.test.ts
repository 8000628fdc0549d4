import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomOf } from './random.ts';
import { readTrace, type TraceName, traceNames, traceOf, writeTrace } from './trace.ts';

const wish = { perSecond: 2, seconds: 600, crowd: 50, livesSeconds: 10, images: 4 };
const of = (name: TraceName, more: Partial<typeof wish> = {}) =>
  traceOf(name, { ...wish, ...more }, randomOf(7));
/** Whether they are as many as were wished for, but for four standard deviations of a count. */
const about = (count: number, expected: number) => Math.abs(count - expected) <= 4 * Math.sqrt(expected);

test('a trace of each name is in order, and the same for the same seed', () => {
  for (const name of traceNames) {
    const trace = of(name, { perSecond: 0.1 });
    assert.deepEqual(trace, of(name, { perSecond: 0.1 }));
    assert.deepEqual(
      trace,
      trace.toSorted((one, other) => one.atMs - other.atMs),
    );
  }
});

test('each has as many as were wished for, when they were', () => {
  const steady = of('steady');
  assert.ok(about(steady.length, 1200), `${steady.length}`);
  assert.ok(about(steady.filter(({ atMs }) => atMs < 300_000).length, 600));
  const burst = of('burst');
  assert.equal(burst.length, 1200);
  assert.ok(burst.every(({ atMs }) => atMs % 60_000 <= 1000));
  const day = of('day', { perSecond: 0.1, seconds: 86_400 });
  const hour = (of: number) => day.filter(({ atMs }) => Math.floor(atMs / 3_600_000) === of).length;
  assert.ok(about(day.length, 8640), `${day.length}`);
  assert.ok(about(hour(12), 720) && hour(0) < 30, `${hour(12)} at noon, ${hour(0)} at midnight`);
  const crowd = of('crowd');
  assert.deepEqual([crowd.length, crowd.filter(({ atMs }) => atMs < 60_000).length], [51, 1]);
});

test('images are asked for by Zipf’s law, and lives have their mean', () => {
  const trace = of('steady', { seconds: 6000 });
  const count = (image: string) => trace.filter((arrival) => arrival.image === image).length;
  const part = trace.length / (1 + 1 / 2 + 1 / 3 + 1 / 4);
  for (const [index, image] of ['image-1', 'image-2', 'image-3', 'image-4'].entries())
    assert.ok(about(count(image), part / (index + 1)), image);
  const mean = trace.reduce((sum, { livesMs }) => sum + livesMs, 0) / trace.length;
  assert.ok(mean > 9_500 && mean < 10_500, `${mean}`);
});

test('what was written is read; whatever is no arrival is named with its line', () => {
  const trace = of('burst');
  assert.deepEqual(readTrace(writeTrace(trace)), trace);
  const two = '{"atMs":5,"image":"a","livesMs":1}\n\n{"atMs":2,"image":"b","livesMs":1,"token":"t"}';
  assert.deepEqual(
    readTrace(two).map(({ atMs, token }) => [atMs, token]),
    [
      [2, 't'],
      [5, 'one'],
    ],
  );
  for (const [wrong, why] of [
    ['{', /Line 2 is no arrival: .*it is not JSON/],
    ['{"atMs":-1,"image":"a","livesMs":1}', /Line 2 .*atMs/s],
    ['{"atMs":1,"image":"a","livesMs":1,"more":1}', /Line 2 .*more/s],
    ['[]', /Line 2 /],
  ] as const)
    assert.throws(() => readTrace(`{"atMs":5,"image":"a","livesMs":1}\n${wrong}`), why);
});
