/** GPUs over the life of a sandbox: who has one, and since when it is free again. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Device } from '../engines/engine.ts';
import { Domain, deadline, eventually, output } from './testing/domain.ts';

const gpus: readonly Device[] = [
  { name: 'fake/gpu=0', types: ['A100-80GB', 'A100'], runtimes: new Set(['runc']) },
];
const gpu = { type: 'A100', count: 1 };
const taken = { code: 'resource-exhausted' };

describe('a sandbox with a GPU', () => {
  it('has it, and its programs are told of it', async () => {
    await using domain = await Domain.open({ gpus });
    const sandbox = await domain.running({ gpu });
    assert.deepEqual(domain.instance(sandbox).devices, ['fake/gpu=0']);
    assert.equal(await output(sandbox, ['sh', '-c', 'echo $FAKE_GPUS']), 'fake/gpu=0\n');
    const plain = await domain.running();
    assert.equal(await output(plain, ['sh', '-c', 'echo "$FAKE_GPUS"']), '\n');
  });

  it('keeps others from it until it has ended, however it ends', async () => {
    await using domain = await Domain.open({ gpus });
    const ended = async () => (await domain.running({ gpu })).terminate();
    const exited = async () => {
      const sandbox = await domain.create({ gpu, args: ['true'] });
      await sandbox.wait(60_000, deadline());
      await eventually(() => sandbox.state === 'ended');
    };
    const failed = async () => {
      domain.engine.faults.failTimes('bind', 1);
      const sandbox = await domain.create({ gpu });
      await sandbox.wait(60_000, deadline());
      await eventually(() => sandbox.state === 'ended');
      domain.engine.faults.clear('bind');
    };
    const refused = async () => {
      await domain.running({ name: 'taken' });
      await assert.rejects(domain.create({ gpu, name: 'taken' }), { code: 'already-exists' });
    };
    for (const end of [ended, exited, failed, refused]) {
      await end();
      const next = await domain.running({ gpu });
      await assert.rejects(domain.create({ gpu }), taken);
      await next.terminate();
    }
  });

  it('is one of several that raced for it', async () => {
    await using domain = await Domain.open({ gpus });
    const results = await Promise.allSettled(Array.from({ length: 5 }, () => domain.create({ gpu })));
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
  });

  it('that could not be removed has it still', async () => {
    await using domain = await Domain.open({ gpus });
    const sandbox = await domain.running({ gpu });
    let isStuck = true;
    domain.engine.faults.at('destroy', () => {
      if (isStuck) throw new Error('stuck');
    });
    await sandbox.terminate();
    await assert.rejects(domain.create({ gpu }), taken);
    isStuck = false;
    await eventually(() => domain.engine.instances.size === 0);
    await (await domain.running({ gpu })).terminate();
  });

  it('has it after a restart of the server', async () => {
    await using domain = await Domain.open({ gpus });
    const sandbox = await domain.running({ gpu });
    await using next = await domain.restart();
    const again = next.manager.get(sandbox.id);
    await assert.rejects(next.create({ gpu }), taken);
    assert.equal(await output(again, ['sh', '-c', 'echo $FAKE_GPUS']), 'fake/gpu=0\n');
    await again.terminate();
    await next.running({ gpu });
  });

  it('that a restart finds without an instance claims it anew', async () => {
    await using domain = await Domain.open({ gpus });
    const held = domain.engine.faults.hold('prepare');
    const sandbox = await domain.create({ gpu });
    await held.reached;
    await using next = await domain.restart();
    await next.manager.get(sandbox.id).waitUntilRunning(deadline());
    await assert.rejects(next.create({ gpu }), taken);
  });

  it('does not start when it has gone from the machine meanwhile', async () => {
    await using domain = await Domain.open({ gpus, config: { maxStarting: 1 } });
    const held = domain.engine.faults.hold('prepare');
    await domain.create();
    await held.reached;
    const sandbox = await domain.create({ gpu }); // waits for its turn
    domain.engine.availableGpus = [];
    held.release();
    const result = await sandbox.wait(60_000, deadline());
    assert.ok(result?.kind === 'start-failed');
    assert.match(result.message, /fake\/gpu=0 is not there any more/);
  });
});
