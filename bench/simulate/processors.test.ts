import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Processors } from './processors.ts';
import { VirtualClock } from './virtual-clock.ts';

test('what is done at once shares the processors, and nothing has more than one', async () => {
  const clock = new VirtualClock();
  const processors = new Processors(2, clock);
  const ends = new Map<string, number>();
  const begin = (name: string, ms: number) =>
    void processors.do(ms).then(() => void ends.set(name, Math.round(clock.now())));
  begin('alone', 100);
  clock.after(200, () => {
    for (const name of ['one', 'two', 'three', 'four']) begin(name, 100);
  });
  clock.after(300, () => begin('late', 50));
  await clock.run(() => ends.size === 6);
  // Four have half a processor each for 100 ms; then five share two, until the last four of them are done.
  assert.deepEqual(Object.fromEntries(ends), {
    ...{ alone: 100, one: 425, two: 425, three: 425, four: 425 },
    late: 425,
  });
  assert.equal(Math.round(processors.busyMs), 550);
});

test('the clock goes from one moment to the next, and keeps the order of the same moment', async () => {
  const clock = new VirtualClock();
  const seen: [string, number][] = [];
  const see = (name: string) => () => void seen.push([name, clock.now()]);
  clock.after(86_400_000, see('tomorrow'));
  clock.after(5, see('first'));
  const callOff = clock.after(5, see('never'));
  clock.after(5, see('second'));
  callOff();
  void clock.wait(7).then(see('promised'));
  await clock.run(() => seen.length === 4);
  assert.deepEqual(seen, [
    ['first', 5],
    ['second', 5],
    ['promised', 7],
    ['tomorrow', 86_400_000],
  ]);
  await assert.rejects(
    clock.run(() => false),
    /Nothing more will ever happen/,
  );
});
