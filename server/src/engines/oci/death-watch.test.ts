import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from '../../platform/command.ts';
import { watchForDeath } from './death-watch.ts';
import { isAlive } from './process-identity.ts';

/** Answers in this order, the last one for ever. An error stands for a runtime that is missing or does not answer. */
function watched(answers: readonly (boolean | Error)[]) {
  let asked = 0;
  const isUp = async () => {
    const answer = answers[Math.min(asked++, answers.length - 1)];
    if (typeof answer !== 'boolean') throw answer;
    return answer;
  };
  return { isUp, asked: () => asked };
}

const log = () => {
  const told: string[] = [];
  return { told, warn: (fields: object) => void told.push('err' in fields ? String(fields.err) : '') };
};

test('sees a death also after it could not find out for a while', async () => {
  const gone = new Error('runsc is not installed');
  const slow = new Error('runsc did not finish within 60 s');
  const { isUp, asked } = watched([gone, gone, true, slow, false]);
  const logger = log();
  assert.equal(await watchForDeath({ inDoubt: () => true, isUp }, logger, 1), true);
  assert.equal(asked(), 5);
  assert.deepEqual(logger.told, [String(gone), String(slow)]);
});

test('is no death of one that ended by other means or has its connection again', async () => {
  const { isUp, asked } = watched([true]);
  assert.equal(await watchForDeath({ inDoubt: () => asked() < 3, isUp }, log(), 1), false);
  const ended = watched([false]);
  assert.equal(
    await watchForDeath({ inDoubt: () => ended.asked() === 0, isUp: ended.isUp }, log(), 1),
    false,
  );
});

/** Uses up its descriptors before it looks. */
const BLIND = `
import { openSync } from 'node:fs';
import { isAlive } from '${new URL('process-identity.ts', import.meta.url)}';
try { for (;;) openSync('/dev/null'); } catch {}
console.log(await isAlive({ pid: process.pid, startTime: '1' }).catch((error) => error.code));
`;

test('takes nothing for dead that it cannot look at', async () => {
  assert.equal(await isAlive({ pid: process.pid, startTime: '1' }), false, 'another process had the number');
  assert.equal(await isAlive({ pid: 0x7ffffff, startTime: '1' }), false);
  const node = [process.execPath, '--input-type=module', '--eval', BLIND];
  const { stdout } = await run(['sh', '-c', 'ulimit -n 100 && exec "$@"', 'sh', ...node]);
  assert.equal(stdout.trim(), 'EMFILE');
});
