/** GPUs that a cluster's scheduler hands out, on a cluster that is none. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { newInstanceId, newTaskId } from '../../ids.ts';
import { GpuPool } from '../../instances/gpu-pool.ts';
import { delay } from '../../platform/wait.ts';
import { EngineSuite, limits, signal } from '../testing/engine-suite.ts';
import type { FakeCluster } from './testing/fake-cluster.ts';
import { openOnFakeCluster } from './testing/fake-cluster-harness.ts';

/** So long a test waits for what it knows not to come. */
const WAIT_MS = 500;

describe('GPUs of a cluster', { skip: process.getuid?.() === 0 ? false : 'needs root' }, () => {
  let suite: EngineSuite;
  let cluster: FakeCluster;
  before(async () => {
    suite = await EngineSuite.open('runc', async (content) => {
      const opened = await openOnFakeCluster(content, { gpuWaitMs: WAIT_MS });
      cluster = opened.cluster;
      return opened.harness;
    });
  });
  after(() => suite?.[Symbol.asyncDispose]());

  it('are in one sandbox at a time; one that finds none free ends with the reason', async () => {
    cluster.gpus = 2;
    await suite.using({ devices: ['T4', 'T4'] }, async (instance) => {
      assert.deepEqual(instance.deviceEnvironment.NVIDIA_VISIBLE_DEVICES, 'GPU-0,GPU-1');
      await assert.rejects(suite.create({ devices: ['ANY'] }), {
        code: 'resource-exhausted',
        message:
          'No node of the cluster has 1 × nvidia.com/gpu free. Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.',
      });
    });
    await suite.using({ devices: ['ANY'] }, async ({ deviceEnvironment }) =>
      assert.equal(deviceEnvironment.NVIDIA_VISIBLE_DEVICES, 'GPU-0'),
    );
    assert.deepEqual(await suite.harness.traces(), []);
  });

  it('are waited for while others have them', async () => {
    cluster.gpus = 1;
    const first = await suite.create({ devices: ['ANY'] });
    let isWaiting = false;
    const onWait = () => {
      isWaiting = true;
    };
    const shape = suite.spec({ devices: ['ANY'], onWait });
    const prepared = await suite.harness.engine.prepare(shape, signal());
    const bound = prepared.bind(shape, signal());
    bound.catch(() => {}); // awaited below
    await cluster.untilUnplaced();
    while (!isWaiting) await delay(5, signal());
    await suite.destroy(first);
    suite.live.add(await bound);
    await suite.destroy(prepared);
  });

  it('that are lacking take nothing from those that wait; room that is lacking does', async () => {
    const { engine } = suite.harness;
    const wait = () =>
      engine.prepare(
        suite.spec({ expects: { hostname: 'sandbox', limits, network: { kind: 'open' } } }),
        signal(),
      );
    cluster.gpus = 0;
    const waiting = await wait();
    let isGone = false;
    void waiting.died.then(() => {
      isGone = true;
    });
    await assert.rejects(suite.create({ devices: ['ANY'] }), { code: 'resource-exhausted' });
    assert.equal(isGone, false);
    [cluster.gpus, cluster.room] = [1, 1];
    void waiting.died.then(() => engine.destroy(waiting.id));
    await suite.using({ devices: ['ANY'] }, async () => assert.equal(isGone, true));
    cluster.room = Number.POSITIVE_INFINITY;
    assert.deepEqual(await suite.harness.traces(), []);
  });

  it('are counted by nobody else, and given by type', async () => {
    const { engine } = suite.harness;
    const pool = new GpuPool(engine, 1);
    const gpus = await pool.list();
    const claim = (type: string, count = 1) => pool.claim(newTaskId(), { type, count }, 'auto', gpus);
    for (let n = 0; n < 3; n++) assert.deepEqual(claim('A100', 2).devices, ['A100', 'A100']);
    assert.deepEqual(claim('ANY', 2).devices, ['ANY', 'ANY']);
    assert.equal(claim('T4').foundWithinMs, WAIT_MS);
    assert.throws(() => claim('RTX-4090'), {
      code: 'invalid-argument',
      message: /1 GPU of type RTX-4090 wanted\. This server knows ANY, T4,/,
    });
    assert.throws(() => pool.claim(newTaskId(), { type: 'T4', count: 1 }, 'gvisor', gpus), {
      code: 'invalid-argument',
      message: /gvisor/,
    });
  });

  it('of two kinds cannot be in one sandbox', async () => {
    const shape = { ...suite.spec({ devices: ['T4', 'L4'] }), id: newInstanceId() };
    await assert.rejects(suite.harness.engine.prepare(shape, signal()), { code: 'unavailable' });
  });
});
