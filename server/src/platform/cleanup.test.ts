import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cleanup } from './cleanup.ts';

test('undoes the newest first, once, whoever asks', async () => {
  const done: string[] = [];
  const cleanup = new Cleanup();
  cleanup.add('first', () => done.push('first'));
  cleanup.add('second', async () => done.push('second'));
  await Promise.all([cleanup.run(), cleanup.run()]);
  assert.deepEqual(done, ['second', 'first']);
});

test('goes on after a failure and joins the errors', async () => {
  const done: string[] = [];
  const cleanup = new Cleanup();
  cleanup.add('good', () => done.push('good'));
  cleanup.add('bad', () => {
    throw new Error('no');
  });
  cleanup.add('worse', () => Promise.reject(new Error('never')));
  await assert.rejects(cleanup.run(), (error: AggregateError) => {
    assert.deepEqual(
      error.errors.map((each: Error) => each.message),
      ['cleanup of worse failed', 'cleanup of bad failed'],
    );
    return true;
  });
  assert.deepEqual(done, ['good']);
});

test('a late addition is undone at once, a released one never', async () => {
  const done: string[] = [];
  const cleanup = new Cleanup();
  cleanup.add('released', () => done.push('released'));
  cleanup.release();
  await cleanup.run();
  cleanup.add('late', () => done.push('late'));
  await cleanup.run();
  assert.deepEqual(done, ['late']);
});
