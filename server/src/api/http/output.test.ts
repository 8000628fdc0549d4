import assert from 'node:assert/strict';
import { test } from 'node:test';
import { delay } from '../../platform/wait.ts';
import { exitCodeOf } from '../../sandboxes/state.ts';
import { Domain, deadline, exec } from '../../sandboxes/testing/domain.ts';
import { followToExit } from './output.ts';

/** What a caller takes for each piece: longer than output is waited for once its program has exited. */
const SLOWLY_MS = 200;
const BYTES = 2_000_000;

test('a slow caller gets all that a program wrote, though it ended long before', async () => {
  await using domain = await Domain.open();
  const sandbox = await domain.running();
  const process = await exec(sandbox, ['head', '-c', String(BYTES), '/dev/zero']);
  let taken = 0;
  const take = async (_stream: string, chunk: Uint8Array) => {
    await delay(SLOWLY_MS);
    taken += chunk.length;
    return true;
  };
  const exit = await followToExit(process, take, deadline());
  assert.deepEqual([exitCodeOf(exit), taken], [0, BYTES]);
});

test('a program that left another behind, which has its output, is not waited for longer', async () => {
  await using domain = await Domain.open();
  const sandbox = await domain.running();
  const process = await exec(sandbox, ['sh', '-c', 'sleep 1000 & echo done']);
  let taken = '';
  const take = async (_stream: string, chunk: Uint8Array) => {
    taken += Buffer.from(chunk).toString();
    return true;
  };
  await followToExit(process, take, deadline());
  assert.equal(taken, 'done\n');
});
