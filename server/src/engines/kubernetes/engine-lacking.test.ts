/** What a cluster may lack: rights, room, for which Pods that wait for somebody go, and nodes that answer. */
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { SkerryError } from '../../errors/skerry-error.ts';
import { newVolumeMountId } from '../../ids.ts';
import { delay, unlessAborted } from '../../platform/wait.ts';
import type { MountRef } from '../references.ts';
import { EngineSuite, limits, signal } from '../testing/engine-suite.ts';
import { shell } from '../testing/guest.ts';
import { TestContent } from '../testing/test-content.ts';
import type { FakeCluster } from './testing/fake-cluster.ts';
import { openOnFakeCluster } from './testing/fake-cluster-harness.ts';

const expects = { hostname: 'sandbox', limits, network: { kind: 'open' } } as const;

describe('a cluster that lacks something', { skip: process.getuid?.() === 0 ? false : 'needs root' }, () => {
  let suite: EngineSuite;
  let cluster: FakeCluster;
  /** Called when somebody asks where a working tree is. */
  let onMount: (() => void) | undefined;
  before(async () => {
    suite = await EngineSuite.open('runc', async (content) => {
      const mount = (ref: MountRef) => {
        onMount?.();
        return content.mount(ref);
      };
      const opened = await openOnFakeCluster({
        layer: (ref) => content.layer(ref),
        newLayer: (ref) => content.newLayer(ref),
        mount,
      });
      cluster = opened.cluster;
      return opened.harness;
    });
  });
  after(() => suite?.[Symbol.asyncDispose]());

  const makeVolume = async () => {
    const tree = newVolumeMountId();
    await mkdir(join(suite.directory, tree));
    const source = { kind: 'volume', tree, path: '' } as const;
    return { tree, mounts: [{ source, target: '/data', readOnly: false }] };
  };

  it('tells which rights are missing', async () => {
    const { engine } = suite.harness;
    assert.ok((await engine.check()).every(({ ok }) => ok));
    cluster.refused.add('delete secrets');
    const rights = (await engine.check()).find(({ name }) => name === 'rights');
    assert.equal(rights?.ok, false);
    assert.match(rights?.found ?? '', /cannot delete secrets, in the namespace sandboxes/);
  });

  it('tells who waited in vain what the cluster said last of it, where it may know that', async () => {
    const { engine } = suite.harness;
    const said = (minute: number, reason: string, message: string) => ({
      ...{ reason, message, lastTimestamp: new Date(2026, 0, 1, 0, minute) },
    });
    cluster.warnings = [said(2, 'FailedCreatePodSandBox', 'no network.'), said(1, 'Failed', 'earlier')];
    cluster.starts = false;
    const waitInVain = async () => {
      const late = new AbortController();
      const starting = suite.start(suite.spec(), late.signal);
      starting.catch(() => {}); // awaited by whoever called this
      while (cluster.pods().length === 0) await delay(5);
      late.abort(new SkerryError('unavailable', 'too late'));
      return starting;
    };
    await assert.rejects(waitInVain(), {
      code: 'unavailable',
      message: "The sandbox's Pod did not start in time. FailedCreatePodSandBox: no network.",
    });
    assert.deepEqual((await engine.check()).find(({ name }) => name === 'events')?.ok, true);
    cluster.refused.add('list events');
    await assert.rejects(waitInVain(), { message: 'too late' });
    const check = (await engine.check()).find(({ name }) => name === 'events');
    assert.deepEqual([check?.ok, check?.required], [false, false]);
    cluster.starts = true;
    assert.deepEqual(await suite.harness.traces(), []);
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
      await cluster.loseNode(true);
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
      await cluster.loseNode(false);
      const deadline = signal();
      while ((await Promise.race([instance.exited, delay(20, deadline)])) === undefined)
        await instance.wake();
      assert.equal((await instance.exited).reason, 'crashed');
    });
    assert.deepEqual(await suite.harness.traces(), []);
  });

  for (const [what, isStopped] of [
    ['runs', false],
    ['was stopped', true],
  ] as const) {
    it(`has nobody wait for files of one that ${what} once its node is given up`, async () => {
      const { tree, mounts } = await makeVolume();
      await suite.using({ mounts }, async (instance) => {
        if (isStopped) await instance.stop();
        await cluster.cutNode();
        const waiting = [
          instance.copies?.collect(tree, signal()),
          instance.copies?.deliver(tree, signal()),
          instance.commit(TestContent.ref('taken'), { move: isStopped }),
        ];
        const settled = Promise.allSettled(waiting);
        await cluster.loseNode(true);
        for (const outcome of await settled)
          assert.equal(outcome.status === 'rejected' && outcome.reason.code, 'sandbox-ended');
      });
      assert.deepEqual(await suite.harness.traces(), []);
    });
  }

  it('has a sandbox not start whose node is lost while its volumes are filled', async () => {
    const { mounts } = await makeVolume();
    onMount = () => {
      onMount = undefined;
      void cluster.loseNode(true);
    };
    await assert.rejects(suite.create({ mounts }), /did not start\. Its node does not answer any more/);
    assert.deepEqual(await suite.harness.traces(), []);
  });
});
