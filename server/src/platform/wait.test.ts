import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLetGo } from './testing/collected.ts';
import { unlessAborted, withDeadline } from './wait.ts';

test('gives what comes first: the value, the error, the end of patience, or the reason of the abort', async () => {
  const live = new AbortController().signal;
  const never = new Promise<never>(() => {});
  const failed = Promise.reject(new Error('failed'));
  assert.equal(await unlessAborted(Promise.resolve(1), live), 1);
  await assert.rejects(unlessAborted(failed, live), /failed/);
  await assert.rejects(withDeadline(failed, 1000, live), /failed/);
  assert.equal(await withDeadline(Promise.resolve(2), 1000), 2);
  assert.equal(await withDeadline(never, 1), undefined);
  assert.equal(await withDeadline(Promise.resolve(3), 2 ** 40), 3);
  const abort = new AbortController();
  const both = [unlessAborted(never, abort.signal), withDeadline(never, 2 ** 40, abort.signal)];
  abort.abort(new Error('gone'));
  for (const one of [...both, unlessAborted(never, abort.signal)]) await assert.rejects(one, /gone/);
  await assert.rejects(unlessAborted(Promise.reject(new Error('unheard')), abort.signal), /gone/);
});

test('all who wait for the same promise hear of it, also those who come while it is told', async () => {
  const live = new AbortController().signal;
  const { promise, resolve } = Promise.withResolvers<string>();
  const first = unlessAborted(promise, live);
  const second = withDeadline(promise, 1000);
  const late = promise.then(() => unlessAborted(promise, live));
  resolve('told');
  assert.deepEqual(
    await Promise.all([first, second, late, unlessAborted(promise, live)]),
    Array(4).fill('told'),
  );
});

test('a wait that was given up leaves nothing at a promise that goes on', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const left: WeakRef<object>[] = [];
  const wait = async () => {
    const deadline = withDeadline(promise, 1);
    const abort = new AbortController();
    const aborted = unlessAborted(promise, abort.signal);
    left.push(new WeakRef(deadline), new WeakRef(aborted));
    abort.abort();
    await assert.rejects(aborted);
    await deadline;
  };
  await wait();
  for (const reference of left) assert.ok(await isLetGo(reference));
  resolve();
});
