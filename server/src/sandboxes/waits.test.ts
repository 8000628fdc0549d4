import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newProcessId } from '../ids.ts';
import { isLetGo } from '../platform/testing/collected.ts';
import { Domain, deadline, execSpec } from './testing/domain.ts';

test('who gives up waiting for a process leaves nothing with it', async () => {
  await using domain = await Domain.open();
  const sandbox = await domain.running();
  const process = await sandbox.exec(newProcessId(), execSpec(['sleep', '1000']), deadline());
  const giveUp = async () => {
    const patience = new AbortController();
    const waiting = process.wait(patience.signal);
    patience.abort(new Error('enough'));
    await assert.rejects(waiting, /enough/);
    return new WeakRef(waiting);
  };
  assert.ok(await isLetGo(await giveUp()));
  assert.equal(process.exit, undefined);
});
