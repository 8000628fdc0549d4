/** Nothing of a sandbox stays in a cluster that would not take it away at first. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { InstanceService } from '../../instances/instance-service.ts';
import { delay } from '../../platform/wait.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { EngineSuite, limits, signal } from '../testing/engine-suite.ts';
import type { FakeCluster } from './testing/fake-cluster.ts';
import { openOnFakeCluster } from './testing/fake-cluster-harness.ts';

const logger = createLogger('silent');
/** What an API server that has too much to do says, and one that goes away while it is asked. */
const REFUSALS = [409, 429, 500, 503, 'end', 'silence'] as const;
/** Of an answer, and of a Pod that goes: none here takes as long that comes at all. */
const TIMEOUT_MS = 2_000;

describe('a cluster that takes nothing away at first', {
  skip: process.getuid?.() === 0 ? false : 'needs root',
}, () => {
  let suite: EngineSuite;
  let cluster: FakeCluster;
  let instances: InstanceService;
  before(async () => {
    suite = await EngineSuite.open('runc', async (content) => {
      const opened = await openOnFakeCluster(content, {
        ...{ answerTimeoutMs: TIMEOUT_MS, removalTimeoutMs: TIMEOUT_MS },
      });
      cluster = opened.cluster;
      return opened.harness;
    });
    const { engine } = suite.harness;
    instances = new InstanceService({ engine, logger, warmPool: 0, firstPauseMs: 2 });
  });
  after(async () => {
    await instances?.close();
    await suite?.[Symbol.asyncDispose]();
  });

  const untilGone = async () => {
    const deadline = signal();
    while ((await suite.harness.traces()).length > 0) await delay(5, deadline);
    for (const [kind, refusals] of Object.entries(cluster.deletions))
      assert.deepEqual(refusals, [], `it was not asked for ${kind} again`);
  };
  const shape = () => {
    const { layers, runtime } = suite.spec();
    return { layers, runtime };
  };

  it('is asked again until Pod, policy and Secret are gone', async () => {
    for (const refusal of REFUSALS) {
      const network = { kind: 'allowlist', cidrs: ['192.0.2.0/24'] } as const;
      const tenure = { hostname: 'sandbox', limits, network, mounts: [] };
      const instance = await instances.start(shape(), async () => tenure, signal());
      for (const refusals of Object.values(cluster.deletions)) refusals.push(refusal, refusal);
      await assert.rejects(instances.destroy(instance.id));
      await untilGone();
    }
  });

  it('is asked again where a sandbox did not start', async () => {
    for (const refusal of REFUSALS) {
      const failing = async () => {
        cluster.deletions.secrets.push(refusal, refusal);
        throw new Error('it cannot be');
      };
      await assert.rejects(instances.start(shape(), failing, signal()), /it cannot be/);
      await untilGone();
    }
  });

  it('is asked again where the Pod is gone and the Secret is not', async () => {
    const tenure = { hostname: 'sandbox', limits, network: { kind: 'open' }, mounts: [] } as const;
    const instance = await instances.start(shape(), async () => tenure, signal());
    cluster.deletions.secrets.push(500, 429, 'end');
    await assert.rejects(instances.destroy(instance.id));
    assert.deepEqual(
      (await suite.harness.traces()).map((line) => line.split(' ')[0]),
      ['secret'],
    );
    await untilGone();
  });

  it('does so also for a Pod that was on its way to a node that was lost', async () => {
    const expects = { hostname: 'sandbox', limits, network: { kind: 'open' } } as const;
    cluster.starts = false;
    const deadline = signal();
    const prepared = instances.prepare({ ...shape(), expects }, deadline);
    prepared.catch(() => {}); // awaited below
    const isThere = async () => (await suite.harness.traces()).some((line) => line.startsWith('pod'));
    while (!(await isThere())) await delay(5, deadline);
    await cluster.loseNode(true);
    cluster.starts = true;
    await assert.rejects(prepared, /did not start\. Its node is lost, or closed to it/);
    await untilGone();
  });

  it('does so also for a Pod that was to end when its node was lost', async () => {
    const tenure = { hostname: 'sandbox', limits, network: { kind: 'open' }, mounts: [] } as const;
    const instance = await instances.start(shape(), async () => tenure, signal());
    await cluster.cutNode();
    await assert.rejects(instances.destroy(instance.id), /its node may not answer/);
    await cluster.loseNode(true);
    await untilGone();
  });
});
