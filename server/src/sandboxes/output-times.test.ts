import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { OutputTimes, readOutputTimes } from './output-times.ts';

function pathFor(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'skerry-times-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, 'out.times');
}

test('times are kept ten milliseconds apart, over a restart, and in order though the clock is put back', (t) => {
  const path = pathFor(t);
  assert.deepEqual(readOutputTimes(path), []);
  let nowMs = 1000;
  const first = new OutputTimes(path, () => nowMs);
  const at = (times: OutputTimes, offset: number, timeMs: number) => {
    nowMs = timeMs;
    times.mark(offset);
  };
  at(first, 0, 1000);
  at(first, 5, 1009);
  at(first, 7, 1010);
  first.close();
  // What a full disk cut short gives way to the next.
  appendFileSync(path, 'xxx');
  const second = new OutputTimes(path, () => nowMs);
  at(second, 2 ** 40, 900);
  at(second, 2 ** 40 + 1, 2000);
  second.close();
  assert.deepEqual(readOutputTimes(path), [
    { offset: 0, timeMs: 1000 },
    { offset: 7, timeMs: 1010 },
    { offset: 2 ** 40, timeMs: 1010 },
    { offset: 2 ** 40 + 1, timeMs: 2000 },
  ]);
});

test('many times are kept a second apart', (t) => {
  const path = pathFor(t);
  let nowMs = 0;
  const times = new OutputTimes(path, () => nowMs);
  for (let count = 0; count < 65_536; count++, nowMs += 10) times.mark(count);
  const mebibyte = statSync(path).size;
  assert.equal(mebibyte, 1 << 20);
  for (let count = 0; count < 200; count++, nowMs += 10) times.mark(100_000 + count);
  times.close();
  assert.equal(statSync(path).size, mebibyte + 2 * 16);
});

test('where they cannot be written nobody is told', (t) => {
  const path = join(pathFor(t), 'below', 'a file that is not there');
  const times = new OutputTimes(path, Date.now);
  times.mark(0);
  times.close();
  assert.deepEqual(readOutputTimes(path), []);
});
