/** Sandboxes that go back to what they were. The engine is the fake one: its programs begin anew from a checkpoint. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { newMemorySnapshotId } from '../ids.ts';
import { Domain, deadline, eventually, exec, output, TEST_ENVIRONMENT, text } from './testing/domain.ts';

const opened = () => Domain.open({ checkpoints: true });
const PROGRAM = ['sh', '-c', 'echo began; sleep 1000'];

describe('a sandbox that goes back to a snapshot of it', () => {
  it('is the same one, with the files of then and the volumes of now; what runs is killed', async () => {
    await using domain = await opened();
    const volume = domain.volumes.create(TEST_ENVIRONMENT, 'shared', 2, 'keep');
    const volumes = [{ volumeId: volume.id, target: '/data', readOnly: false, subPath: '' }];
    const sandbox = await domain.running({ args: PROGRAM, name: 'worker', tags: { a: 'b' }, volumes });
    await output(sandbox, ['sh', '-c', 'echo then > /kept; echo then > /data/kept']);
    const id = await sandbox.keepMemory(deadline());
    await output(sandbox, ['sh', '-c', 'echo now > /kept; echo now > /data/kept']);
    await sandbox.setNetworkPolicy({ kind: 'blocked' });
    const running = await exec(sandbox, ['sleep', '1000']);
    const before = { at: sandbox.deadlineMs, instance: domain.instanceId(sandbox), output: sandbox.stdout };
    assert.equal(domain.manager.memorySnapshots(sandbox.id)[0]?.id, id);

    for (const turn of ['first', 'second']) {
      await domain.manager.rollBack(sandbox.id, id, deadline());
      assert.equal(sandbox.state, 'running', turn);
      assert.equal(
        await output(sandbox, ['sh', '-c', 'cat /kept /data/kept; echo now > /kept']),
        'then\nnow\n',
        turn,
      );
    }
    const { state, name, tags, deadlineMs } = domain.manager.get(sandbox.id);
    assert.deepEqual([state, name, tags, deadlineMs], ['running', 'worker', { a: 'b' }, before.at]);
    assert.notEqual(domain.instanceId(sandbox), before.instance);
    assert.deepEqual(
      domain.instance(sandbox).networkPolicy,
      { kind: 'blocked' },
      'it is not opened again by that',
    );
    assert.deepEqual(await running.wait(deadline()), { kind: 'signal', signal: 9, timedOut: false });
    assert.equal(await text(before.output), 'began\n', 'who reads what it printed comes to an end');
    assert.equal(sandbox.entrypoint?.exit, undefined);
    assert.equal(sandbox.events().filter(({ text: line }) => line.includes(id)).length, 2);

    // The snapshot stays, and what the sandbox goes on from is its own.
    const directory = join(domain.dataDir, 'memory-snapshots');
    await eventually(async () => (await readdir(directory)).length === 1);
    await domain.images.delete(domain.store.memorySnapshots.get(id)?.spec.imageId ?? sandbox.spec.imageId);
    const next = await domain.restart();
    const found = next.manager.get(sandbox.id);
    assert.equal(await output(found, ['cat', '/kept']), 'now\n');
    await found.terminate();
    assert.deepEqual(await next.engine.traces(), []);
    await next[Symbol.asyncDispose]();
  });

  it('does not go back to what it never was', async () => {
    await using domain = await opened();
    const [one, other] = [await domain.running(), await domain.running()];
    const id = await one.keepMemory(deadline());
    const back = (sandbox: typeof one, to = id) => domain.manager.rollBack(sandbox.id, to, deadline());
    await assert.rejects(back(other), { code: 'conflict', message: new RegExp(`taken of ${one.id}`) });
    await assert.rejects(back(one, newMemorySnapshotId()), { code: 'not-found' });
    await one.terminate();
    await assert.rejects(back(one), { code: 'sandbox-ended' });
    assert.equal(await output(other, ['echo', 'on']), 'on\n');
  });
});
