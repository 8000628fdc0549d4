/** What a cluster may lack: rights, room, for which Pods that wait for somebody go, and nodes that answer. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { delay, unlessAborted } from '../../platform/wait.ts';
import { EngineSuite, limits, signal } from '../testing/engine-suite.ts';
import { shell } from '../testing/guest.ts';
import type { FakeCluster } from './testing/fake-cluster.ts';
import { openOnFakeCluster } from './testing/fake-cluster-harness.ts';

const expects = { hostname: 'sandbox', limits, network: { kind: 'open' } } as const;

describe('a cluster that lacks something', { skip: process.getuid?.() === 0 ? false : 'needs root' }, () => {
  let suite: EngineSuite;
  let cluster: FakeCluster;
  before(async () => {
    suite = await EngineSuite.open('runc', async (content) => {
      const opened = await openOnFakeCluster(content);
      cluster = opened.cluster;
      return opened.harness;
    });
  });
  after(() => suite?.[Symbol.asyncDispose]());

  it('tells which rights are missing', async () => {
    const { engine } = suite.harness;
    assert.ok((await engine.check()).every(({ ok }) => ok));
    cluster.refused.add('delete secrets');
    const rights = (await engine.check()).find(({ name }) => name === 'rights');
    assert.equal(rights?.ok, false);
    assert.match(rights?.found ?? '', /cannot delete secrets, in the namespace sandboxes/);
  });

  it('without room has none wait', async () => {
    cluster.room = 0;
    await assert.rejects(suite.harness.engine.prepare(suite.spec({ expects }), signal()), {
      code: 'resource-exhausted',
    });
    assert.deepEqual(await suite.harness.traces(), []);
  });

  it('without room gives that of one that waits to somebody who came', async () => {
    cluster.room = 1;
    const { engine } = suite.harness;
    const waiting = await engine.prepare(suite.spec({ expects }), signal());
    const gone = waiting.died.then(() => engine.destroy(waiting.id));
    await suite.using({}, async (instance) => {
      await gone;
      assert.equal(await shell(instance, 'echo here'), 'here');
    });
    assert.deepEqual(await suite.harness.traces(), []);
  });

  it('has a sandbox of a lost node end, and nothing of it stay', async () => {
    cluster.room = Number.POSITIVE_INFINITY;
    await suite.using({}, async (instance) => {
      cluster.loseNode(true);
      assert.deepEqual(await unlessAborted(instance.exited, signal()), {
        ...{ reason: 'crashed', message: 'Its node does not answer any more.' },
      });
    });
    assert.deepEqual(await suite.harness.traces(), []);
  });

  it('has one that does not answer end before the cluster gives its node up', async () => {
    await suite.using({}, async (instance) => {
      await instance.wake();
      assert.equal(await shell(instance, 'echo here'), 'here');
      cluster.loseNode(false);
      const deadline = signal();
      while ((await Promise.race([instance.exited, delay(20, deadline)])) === undefined)
        await instance.wake();
      assert.equal((await instance.exited).reason, 'crashed');
    });
    assert.deepEqual(await suite.harness.traces(), []);
  });
});
