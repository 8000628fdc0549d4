import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '../telemetry/logger.ts';
import { Cleanup, CleanupScope } from './cleanup.ts';

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

test('a late addition is undone also after a run that failed; what failed is tried again by the next run', async () => {
  const done: string[] = [];
  let broken = true;
  const cleanup = new Cleanup();
  cleanup.add('stubborn', () => {
    if (broken) throw new Error('busy');
    done.push('stubborn');
  });
  await assert.rejects(cleanup.run(), /cleanup of stubborn failed/);
  const late = Promise.withResolvers<void>();
  cleanup.add('late', () => {
    done.push('late');
    late.resolve();
  });
  await late.promise;
  await assert.rejects(cleanup.run(), /cleanup of stubborn failed/);
  broken = false;
  await cleanup.run();
  assert.deepEqual(done, ['late', 'stubborn']);
});

test('a scope logs what it cannot undo, and hides neither the error nor the success of what ran in it', async () => {
  const lines: string[] = [];
  const logger = createLogger('error', { write: (line) => lines.push(line) });
  const work = async (error?: Error) => {
    await using scope = new CleanupScope(logger, { of: 'a test' });
    scope.add('file', () => {
      throw new Error('disk on fire');
    });
    if (error) throw error;
    return 'fine';
  };
  assert.equal(await work(), 'fine');
  await assert.rejects(work(new Error('the first')), /^Error: the first$/);
  assert.equal(lines.length, 2);
  for (const line of lines)
    assert.match(line, /cleanup of file failed.*disk on fire.*"of":"a test"|"of":"a test".*disk on fire/s);
});
