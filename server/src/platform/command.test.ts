import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SkerryError } from '../errors/skerry-error.ts';
import { run } from './command.ts';

const failure = (pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof SkerryError);
  assert.match(error.message, pattern);
  return true;
};

test('gives output, status and input apart; no shell looks at the arguments', async () => {
  const result = await run(['sh', '-c', 'cat; echo "$0" >&2', '$(touch /tmp/never)'], { input: 'in' });
  assert.deepEqual(result, { code: 0, stdout: 'in', stderr: '$(touch /tmp/never)\n' });
  assert.equal((await run(['false'], { okCodes: [1] })).code, 1);
});

test('a failure carries the words of the program, a missing one its name', async () => {
  await assert.rejects(run(['sh', '-c', 'echo why >&2; exit 3']), failure(/^sh failed with status 3: why$/));
  await assert.rejects(run(['no-such-program']), failure(/no-such-program is not installed/));
});

test('a deadline and an abort end the whole process group', async () => {
  // A grandchild that outlived the group would keep the output open, and the call from returning.
  const lingering = ['sh', '-c', 'sleep 1000 & echo started; wait'] as const;
  await assert.rejects(run(lingering, { timeoutMs: 200 }), failure(/did not finish within 0.2 s/));
  const abort = new AbortController();
  const running = run(lingering, { signal: abort.signal, onOutput: () => abort.abort(new Error('enough')) });
  await assert.rejects(running, /enough/);
});

test('output beyond the bound is dropped, not kept in memory', async () => {
  const { stdout } = await run(['head', '-c', '10000000', '/dev/zero'], { maxOutputBytes: 1_000_000 });
  assert.ok(stdout.length >= 1_000_000 && stdout.length < 2_000_000, String(stdout.length));
});

test('a listener of the output that throws ends the command with its error', async () => {
  const full = () => {
    throw new Error('no space left');
  };
  await assert.rejects(run(['sh', '-c', 'echo line; sleep 1000'], { onOutput: full }), /no space left/);
});
