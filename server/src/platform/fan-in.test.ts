import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FanIn } from './fan-in.ts';
import { isLetGo } from './testing/collected.ts';

async function* numbers(from: number, to: number, ended: () => void = () => {}) {
  try {
    for (let i = from; i <= to; i++) yield i;
  } finally {
    ended();
  }
}

async function* silent(): AsyncGenerator<never> {
  await new Promise(() => {});
}

test('gives the pieces of all sources, in turns and in each one in its order', async () => {
  const all = new FanIn<number>();
  all.add(numbers(1, 3));
  all.add(numbers(11, 13));
  all.add(silent());
  const got: number[] = [];
  for await (const piece of all) if (got.push(piece) === 6) break;
  assert.deepEqual(
    [got.filter((piece) => piece < 10), got.filter((piece) => piece > 10)],
    [
      [1, 2, 3],
      [11, 12, 13],
    ],
  );
  assert.notDeepEqual(got, [1, 2, 3, 11, 12, 13], 'no source keeps the others waiting');
});

test('throws what a source throws; and when its reader leaves, sources end, that had a piece ready or come later', async () => {
  const failing = new FanIn<number>();
  failing.add(silent());
  failing.add(
    (async function* () {
      yield 1;
      throw new Error('no');
    })(),
  );
  await assert.rejects(async () => {
    for await (const _ of failing);
  }, /no/);
  const left = new FanIn<number>();
  const ends = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  left.add(numbers(1, 1000, ends[0]?.resolve));
  for await (const _ of left) break;
  left.add(numbers(1, 1000, ends[1]?.resolve));
  await Promise.all(ends.map(({ promise }) => promise));
});

test('keeps nothing of what was read, however many others are silent', async () => {
  const all = new FanIn<object>();
  const pieces: WeakRef<object>[] = [];
  const loud = async function* () {
    for (let i = 0; i < 100; i++) {
      const piece = { text: `piece ${i}` };
      pieces.push(new WeakRef(piece));
      yield piece;
    }
  };
  for (let i = 0; i < 50; i++) all.add(silent());
  all.add(loud());
  const reader = all[Symbol.asyncIterator]();
  for (let i = 0; i < 100; i++) await reader.next();
  // The engine may still hold the last one in a register.
  for (const piece of pieces.slice(0, -1)) assert.ok(await isLetGo(piece));
  assert.ok(reader);
});
