/** Engines of several servers over one cluster and one data directory: each has Pods, and what is of the others stays until one takes it over. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type InstanceId, type MemberId, newInstanceId, newMemberId, newVolumeMountId } from '../../ids.ts';
import { InstanceService } from '../../instances/instance-service.ts';
import { delay, unlessAborted } from '../../platform/wait.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type { Instance, Tenure } from '../engine.ts';
import { createBusyboxLayer } from '../testing/busybox-layer.ts';
import { limits, signal } from '../testing/engine-suite.ts';
import { runInGuest, shell } from '../testing/guest.ts';
import { TestContent } from '../testing/test-content.ts';
import { untilReleased } from '../testing/until-released.ts';
import type { KubernetesEngine } from './engine.ts';
import { FakeCluster } from './testing/fake-cluster.ts';
import { makeOnFakeCluster } from './testing/fake-cluster-harness.ts';

const expects = { hostname: 'sandbox', limits, network: { kind: 'open' } } as const;
const tenure: Tenure = { ...expects, mounts: [] };
const [A, B, C] = [newMemberId(), newMemberId(), newMemberId()] as const;
const logger = createLogger('silent');

describe('engines of several servers', { skip: process.getuid?.() === 0 ? false : 'needs root' }, () => {
  let directory: string;
  let cluster: FakeCluster;
  let content: TestContent;
  const open = new Set<KubernetesEngine>();

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skerry-several-'));
    await createBusyboxLayer(join(directory, 'layer'));
    content = new TestContent(directory);
    cluster = await FakeCluster.open(directory);
  });
  afterEach(async () => {
    // As `skerry down` does it, which is none of them.
    const last = await start(undefined);
    await last.adopt(new Set());
    const left = await last.traces();
    for (const engine of open) await engine.close();
    open.clear();
    await last.remove();
    await cluster[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
    assert.deepEqual(left, []);
  });

  const make = (member: MemberId | undefined) => makeOnFakeCluster(cluster, directory, content, member);
  const start = async (member: MemberId | undefined) => {
    const engine = make(member);
    open.add(engine);
    await engine.open();
    return engine;
  };
  const shape = (id: InstanceId = newInstanceId()) => ({
    ...{ id, layers: [TestContent.ref('layer')], runtime: 'auto' as const },
  });
  const run = async (engine: KubernetesEngine, of: Tenure = tenure): Promise<Instance> =>
    (await engine.prepare(shape(), signal())).bind(of, signal());
  const isLeft = (...gone: readonly string[]) => {
    const left = new Set<string | undefined>(gone);
    return (member: string | undefined) => left.has(member);
  };
  const makeVolume = async () => {
    const tree = newVolumeMountId();
    await mkdir(join(directory, tree));
    return {
      ...tenure,
      mounts: [{ source: { kind: 'volume', tree, path: '' }, target: '/v', readOnly: false }],
    } as const;
  };
  const remembered = () => readdir(join(directory, 'data/kubernetes/volumes'));

  it('leave what others run, keep ready or make when one is started again', async () => {
    const [leader, other] = [await start(A), await start(B)];
    const mine = await run(leader);
    const own = await leader.traces();
    await leader.prepare({ ...shape(), expects }, signal());
    await leader.prepare(shape(), signal());
    const doomed = (await leader.traces()).filter((line) => !own.includes(line));
    // From here on nodes have the images of the one that goes on.
    const [theirs, warm] = [await run(other), await other.prepare({ ...shape(), expects }, signal())];
    const made = await other.prepare(shape(), signal()); // a Secret without a Pod
    const going = runInGuest(theirs, ['sh', '-c', 'until test -e /go; do sleep 0.1; done; echo went']);
    cluster.starts = false;
    const breakOff = new AbortController();
    const starting = other.prepare({ ...shape(), expects }, breakOff.signal);
    starting.catch(() => {}); // awaited below
    const deadline = signal();
    while ((await other.traces()).filter((line) => line.startsWith('pod')).length < 5)
      await delay(5, deadline);
    cluster.starts = true;
    const before = await leader.traces();
    await leader.close();

    const next = await start(C);
    const { instances, left } = await next.adopt(new Set([mine.id]), (member) => member !== B);
    assert.deepEqual([[...instances.keys()], left.size], [[mine.id], 0]);
    assert.equal(doomed.length, 3);
    assert.deepEqual(
      await next.traces(),
      before.filter((line) => !doomed.includes(line)),
    );
    const again = instances.get(mine.id);
    assert.ok(again);
    assert.equal(await shell(again, 'echo fine'), 'fine');
    await shell(theirs, 'touch /go');
    assert.equal((await going).stdout, 'went\n');
    for (const prepared of [warm, made])
      assert.equal(await shell(await prepared.bind(tenure, signal()), 'echo fine'), 'fine');
    breakOff.abort(new Error('not needed'));
    await assert.rejects(starting, /not needed/);
  });

  it('take over while they run what was of one that is gone', async () => {
    const [leader, other] = [await start(A), await start(B)];
    const mine = await run(leader);
    const theirs = [await run(other), await run(other)] as const;
    await other.prepare({ ...shape(), expects }, signal());
    const going = runInGuest(mine, ['sh', '-c', 'until test -e /go; do sleep 0.1; done; echo went']);
    await shell(theirs[0], 'echo kept > /file');
    await other.close();

    const instances = new InstanceService({ engine: leader, logger });
    const adopted = await instances.adopt(new Set(theirs.map(({ id }) => id)), isLeft(B));
    assert.equal(adopted.size, 2);
    assert.equal((await leader.traces()).length, 6, 'the one that nobody had is gone');
    const [first, second] = theirs.map(({ id }) => adopted.get(id));
    assert.ok(first && second);
    assert.equal(await shell(first, 'cat /file'), 'kept');
    assert.equal((await instances.adopt(new Set(theirs.map(({ id }) => id)), isLeft(B))).size, 0);
    await shell(mine, 'touch /go');
    assert.equal((await going).stdout, 'went\n');
    // It is told of them as of its own.
    await (await start(undefined)).destroy(first.id);
    assert.equal((await unlessAborted(first.exited, signal())).reason, 'crashed');
    await instances.destroy(second.id);
    await instances.destroy(first.id);
    assert.equal((await leader.traces()).length, 2);
    await instances.close();
  });

  it('let go of what another takes over from them while they run', async () => {
    const [leader, other] = [await start(A), await start(B)];
    const [theirs, kept] = [await run(other), await run(other)];
    const { instances } = await leader.adopt(new Set([theirs.id]), isLeft());
    await untilReleased(theirs);
    await theirs.stop();
    await other.destroy(theirs.id);
    assert.equal(await Promise.race([theirs.exited, 'it goes on']), 'it goes on');
    const again = instances.get(theirs.id);
    assert.ok(again);
    assert.equal(await shell(again, 'echo fine'), 'fine');
    assert.equal(await shell(kept, 'echo fine'), 'fine');
    // And back.
    const back = (await other.adopt(new Set([theirs.id]), isLeft())).instances.get(theirs.id);
    assert.ok(back);
    assert.equal(await shell(back, 'echo fine'), 'fine');
    await other.destroy(back.id);
    assert.equal((await leader.traces()).length, 2);
  });

  it('remove what nobody has of one that is gone, and of a server without others, where they are to', async () => {
    const alone = await start(undefined);
    await alone.prepare({ ...shape(), expects }, signal());
    await alone.close();
    const other = await start(B);
    await other.prepare({ ...shape(), expects }, signal());
    await other.close();
    const leader = await start(A);
    await leader.adopt(new Set(), isLeft());
    assert.equal((await leader.traces()).length, 4);
    await leader.adopt(new Set(), (member) => member === undefined);
    assert.equal((await leader.traces()).length, 2);
    await leader.adopt(new Set(), isLeft(B));
    assert.deepEqual(await leader.traces(), []);
  });

  it('forget no volumes of Pods that are there', async () => {
    const [leader, other] = [await start(A), await start(B)];
    const mine = await run(leader, await makeVolume());
    await mkdir(join(directory, 'data/kubernetes/volumes', newInstanceId()));
    await other.adopt(new Set(), isLeft(B));
    assert.deepEqual(await remembered(), [mine.id]);
    await leader.close();
    const next = await start(C);
    await next.adopt(new Set(), isLeft(A));
    assert.deepEqual(await remembered(), []);
  });

  it('can open at once, with directories of their own', async () => {
    const members = [A, B, C];
    const engines = await Promise.all(members.map(start));
    const instances = await Promise.all(engines.map((engine) => run(engine)));
    for (const instance of instances) assert.equal(await shell(instance, 'echo fine'), 'fine');
    for (const engine of engines) assert.equal((await engine.traces()).length, 6, 'each knows them all');
    assert.deepEqual((await readdir(join(directory, 'data/members'))).sort(), members.toSorted());
    for (const engine of engines) await engine.close();
    assert.deepEqual(await readdir(join(directory, 'data/kubernetes')), ['identity.json']);
  });

  it('never have nodes be without the password of the registry', async () => {
    const withPassword = (member: MemberId, password: string) =>
      makeOnFakeCluster(cluster, directory, content, member, {
        images: { ...cluster.images, credentials: async () => JSON.stringify({ auths: { password } }) },
      });
    cluster.deletions.secrets.push(500); // whoever removes one is told
    for (const [member, password] of [
      [A, 'first'],
      [B, 'second'],
    ] as const) {
      const engine = withPassword(member, password);
      open.add(engine);
      await engine.open();
    }
    assert.deepEqual(cluster.deletions.secrets.splice(0), [500]);
    const kept = [...cluster.secrets()].map(({ data }) =>
      Buffer.from(data?.['.dockerconfigjson'] ?? '', 'base64').toString(),
    );
    assert.deepEqual(kept, ['{"auths":{"password":"second"}}']);
  });
});
