/** Engines of two servers on the real cluster that `npm run test:kubernetes` makes, of which one takes over what the other has. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { newInstanceId, newMemberId } from '../../../ids.ts';
import { unlessAborted } from '../../../platform/wait.ts';
import type { Tenure } from '../../engine.ts';
import { createBusyboxLayer } from '../../testing/busybox-layer.ts';
import { GROUP_TIMEOUT_MS, limits, signal } from '../../testing/engine-suite.ts';
import { shell } from '../../testing/guest.ts';
import { TestContent } from '../../testing/test-content.ts';
import { untilReleased } from '../../testing/until-released.ts';
import type { KubernetesEngine } from '../engine.ts';
import { makeOnCluster, noCluster } from './cluster-harness.ts';

const [LEADER, OTHER] = [newMemberId(), newMemberId()];

const tenure: Tenure = { hostname: 'sandbox', limits, network: { kind: 'open' }, mounts: [] };

describe('engines of two servers on a real cluster', { skip: noCluster, timeout: GROUP_TIMEOUT_MS }, () => {
  let directory: string;
  let leader: KubernetesEngine;
  let other: KubernetesEngine;
  /** What `skerry down` has. */
  let down: KubernetesEngine;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skerry-several-'));
    await createBusyboxLayer(join(directory, 'layer'));
    const content = new TestContent(directory);
    leader = makeOnCluster(content, directory, LEADER);
    other = makeOnCluster(content, directory, OTHER);
    await Promise.all([leader.open(), other.open()]);
    down = makeOnCluster(content, directory, undefined);
    await down.open();
  });
  after(async () => {
    await down?.adopt(new Set());
    for (const engine of [leader, other, down]) await engine?.close();
    await down?.remove();
    await rm(directory, { recursive: true, force: true });
  });

  const prepare = (engine: KubernetesEngine) =>
    engine.prepare(
      { id: newInstanceId(), layers: [TestContent.ref('layer')], runtime: 'auto', expects: tenure },
      signal(),
    );

  it('leave what is ready of each other, take over, let go, and are told of the end of what they took', async () => {
    const theirs = await (await prepare(other)).bind(tenure, signal());
    const warm = await prepare(other);
    const made = await leader.traces();
    const { instances } = await leader.adopt(new Set([theirs.id]), () => false);
    assert.deepEqual(await leader.traces(), made);
    const taken = instances.get(theirs.id);
    assert.ok(taken);
    await untilReleased(theirs);
    await other.destroy(theirs.id);
    assert.equal(await Promise.race([theirs.exited, 'it goes on']), 'it goes on');
    assert.equal(await shell(taken, 'echo fine'), 'fine');
    const bound = await warm.bind(tenure, signal());
    assert.equal(await shell(bound, 'echo fine'), 'fine');
    await down.destroy(taken.id);
    assert.equal((await unlessAborted(taken.exited, signal())).reason, 'crashed');
    await leader.destroy(taken.id);
    // Of a Pod that neither has any more.
    await other.close();
    await leader.adopt(new Set(), (member) => member === OTHER);
    assert.deepEqual(await leader.traces(), []);
  });
});
