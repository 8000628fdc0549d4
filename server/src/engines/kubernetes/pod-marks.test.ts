/** What people who look at the cluster see of whose a Pod is, on a cluster that is none. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { newAppId, newSandboxId } from '../../ids.ts';
import type { Instance } from '../engine.ts';
import { EngineSuite, limits, signal } from '../testing/engine-suite.ts';
import { marksFor } from './pod-marks.ts';
import type { FakeCluster } from './testing/fake-cluster.ts';
import { openOnFakeCluster } from './testing/fake-cluster-harness.ts';

const whose = { sandbox: newSandboxId(), app: newAppId(), name: 'worker-1', tags: {} };

describe('marks of a Pod', () => {
  it('are labels where the cluster takes them as such, and all tags are in an annotation', () => {
    const tags = { team: 'a.b', empty: '', 'not a key': 'x', 'skerry.dev/network': 'open', url: 'https://x' };
    assert.deepEqual(marksFor({ ...whose, tags }), {
      labels: {
        'skerry.dev/sandbox': whose.sandbox,
        'skerry.dev/app': whose.app,
        'skerry.dev/name': 'worker-1',
        'tag.skerry.dev/team': 'a.b',
        'tag.skerry.dev/empty': '',
      },
      annotations: { 'skerry.dev/tags': JSON.stringify(tags) },
    });
  });

  it('have no name that is no label, and no tags that are longer than the cluster takes', () => {
    const tags = Object.fromEntries(
      Array.from({ length: 64 }, (_, index) => [`${index}`, '\u0001'.repeat(1024)]),
    );
    const { labels, annotations } = marksFor({ ...whose, name: '_'.repeat(64), tags });
    assert.deepEqual(Object.keys(labels ?? {}), ['skerry.dev/sandbox', 'skerry.dev/app']);
    assert.deepEqual(annotations, { 'skerry.dev/tags': '' });
  });
});

describe('a Pod that is somebody’s', { skip: process.getuid?.() === 0 ? false : 'needs root' }, () => {
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

  const podOf = ({ id }: Pick<Instance, 'id'>) =>
    cluster.pods().find(({ metadata }) => metadata?.labels?.['skerry.dev/instance'] === id);
  const tagsOn = (instance: Pick<Instance, 'id'>) =>
    Object.entries(podOf(instance)?.metadata?.labels ?? {}).filter(([key]) => key.startsWith('tag.'));

  it('says whose it is, and what it is called now', async () => {
    await suite.using({ marks: { ...whose, tags: { team: 'a', run: '1' } } }, async (instance) => {
      const { labels } = podOf(instance)?.metadata ?? {};
      assert.equal(labels?.['skerry.dev/sandbox'], whose.sandbox);
      assert.deepEqual(tagsOn(instance), [
        ['tag.skerry.dev/team', 'a'],
        ['tag.skerry.dev/run', '1'],
      ]);
      // One after the other, as they were asked for: what is on the Pod at the end is the last.
      await Promise.all([
        instance.mark?.({ ...whose, tags: { other: 'x' } }),
        instance.mark?.({ ...whose, tags: { team: 'b' } }),
      ]);
      assert.deepEqual(tagsOn(instance), [['tag.skerry.dev/team', 'b']]);
      assert.equal(podOf(instance)?.metadata?.labels?.['skerry.dev/bound'], 'true');
    });
  });

  it('says nothing while it waits for somebody', async () => {
    const expects = { hostname: 'sandbox', limits, network: { kind: 'open' } } as const;
    const shape = suite.spec({ expects, marks: { ...whose, tags: { team: 'a' } } });
    const prepared = await suite.harness.engine.prepare(shape, signal());
    assert.equal(podOf(prepared)?.metadata?.labels?.['skerry.dev/sandbox'], undefined);
    await prepared.bind(shape, signal());
    assert.equal(podOf(prepared)?.metadata?.labels?.['skerry.dev/sandbox'], whose.sandbox);
    await suite.destroy(prepared);
  });

  it('loses tags of before when the next server has it', async () => {
    const { id } = await suite.create({ marks: { ...whose, tags: { team: 'a' } } });
    await suite.harness.restart();
    const { instances } = await suite.harness.engine.adopt(new Set([id]));
    await instances.get(id)?.mark?.({ ...whose, tags: { run: '2' } });
    assert.deepEqual(tagsOn({ id }), [['tag.skerry.dev/run', '2']]);
    await suite.destroy({ id });
  });
});
