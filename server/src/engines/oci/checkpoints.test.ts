import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { newInstanceId, newMemorySnapshotId } from '../../ids.ts';
import { mountsBelow } from '../../platform/mounts.ts';
import { TestContent } from '../testing/test-content.ts';
import {
  CheckpointBuilds,
  CheckpointFiles,
  makeCheckpoint,
  requireWhole,
  unrestorable,
} from './checkpoints.ts';
import { Layout } from './layout.ts';
import { mountOwnPlainMemory, removeLeftPlainMemory } from './plain-memory.ts';
import type { InstanceRecord } from './record.ts';

const directory = mkdtempSync(join(tmpdir(), 'skerry-checkpoints-'));
after(() => rmSync(directory, { recursive: true }));
const content = new TestContent(directory);
const file = (name: string, text: string) => {
  writeFileSync(join(directory, name), text);
  return join(directory, name);
};
const [runsc, agent] = [file('runsc', 'this runsc'), file('agent', 'this agent')];

test('a checkpoint is restored by what made it, and by nothing else', async () => {
  const build = await new CheckpointBuilds(agent).of(runsc, 'runsc 1');
  const id = newMemorySnapshotId();
  await assert.rejects(
    makeCheckpoint(content.checkpoint(id), { build, brief: true }, async ({ memory }) => {
      writeFileSync(join(memory, 'pages'), '');
      throw new Error('half-way');
    }),
    /half-way/,
  );
  assert.deepEqual(await content.checkpoints(), []);
  assert.ok(!readdirSync(directory).some((name) => name.startsWith('sn-')));
  await makeCheckpoint(content.checkpoint(id), { build, brief: false }, async ({ memory }) => {
    writeFileSync(join(memory, 'pages'), '');
  });
  assert.equal(statSync(content.checkpoint(id)).mode & 0o777, 0o700);

  const files = new CheckpointFiles(content.checkpoint(id));
  await files.requireBuild(build);
  assert.deepEqual(await unrestorable([id], content, build), []);
  for (const other of [
    await new CheckpointBuilds(agent).of(file('newer-runsc', 'another runsc'), 'runsc 1'),
    await new CheckpointBuilds(file('newer-agent', 'another agent')).of(runsc, 'runsc 1'),
  ]) {
    await assert.rejects(files.requireBuild(other), (error: Error) => {
      assert.ok(error.message.includes(build.name) && error.message.includes(other.name), error.message);
      return true;
    });
    assert.deepEqual(await unrestorable([id], content, other), [`${id} was made by ${build.name}`]);
  }
  assert.deepEqual(await unrestorable([id], content, undefined), [`${id} was made by ${build.name}`]);
});

test('memory that is encrypted opens with its key alone, in memory, and leaves nothing there', async () => {
  const places = new Layout(directory, join(directory, 'run')).of(newInstanceId());
  const never = new AbortController().signal;
  const [key, id] = [randomBytes(32), newMemorySnapshotId()];
  const build = await new CheckpointBuilds(agent).of(runsc, 'runsc 1');
  const written = join(directory, 'written');
  mkdirSync(written);
  writeFileSync(join(written, 'pages.img'), 'secret '.repeat(100_000));
  await makeCheckpoint(content.checkpoint(id), { build, brief: true }, (files) =>
    files.sealMemory(written, key, AbortSignal.timeout(60_000)),
  );
  const found = readdirSync(content.checkpoint(id), { recursive: true, encoding: 'utf8' });
  assert.deepEqual(found.sort(), ['build.json', 'memory', 'memory.sealed']);
  assert.ok(!readFileSync(join(content.checkpoint(id), 'memory.sealed')).includes('secret'));

  const files = new CheckpointFiles(content.checkpoint(id));
  {
    await using memory = await files.openMemory(places, key, never);
    assert.equal(readFileSync(join(memory.directory, 'pages.img'), 'utf8').length, 700_000);
    assert.deepEqual(await mountsBelow(directory), [memory.directory]);
  }
  await assert.rejects(files.openMemory(places, randomBytes(32), never), { message: /with another key/ });
  await assert.rejects(files.openMemory(places, undefined, never), { message: /there is no key/ });
  assert.deepEqual([await mountsBelow(directory), existsSync(places.plainMemory)], [[], false]);
});

test('memory that an instance writes in plain is allowed to it in addition, also when the server was killed meanwhile', async () => {
  const places = new Layout(directory, join(directory, 'run')).of(newInstanceId());
  mkdirSync(places.dir, { recursive: true });
  const resources = { memory: { limit: 1000 } };
  writeFileSync(join(places.dir, 'config.json'), JSON.stringify({ linux: { resources } }));
  const bounds: number[] = [];
  const cgroups = {
    stats: async () => ({ memoryBytes: 10, cpuUsageNs: 0, pids: 1, oomKills: 0 }),
    boundMemory: async (_: string, bytes: number) => void bounds.push(bytes),
  };
  {
    await using memory = await mountOwnPlainMemory(places, cgroups);
    assert.deepEqual(await mountsBelow(directory), [memory.directory]);
  }
  const [more = 0, ...rest] = bounds;
  assert.ok(more > 1010);
  assert.deepEqual([rest, await mountsBelow(directory)], [[1000], []]);

  await mountOwnPlainMemory(places, cgroups); // and never disposed of
  await removeLeftPlainMemory(places, cgroups);
  assert.deepEqual([bounds.at(-1), await mountsBelow(directory)], [1000, []]);
  await removeLeftPlainMemory(places, cgroups);
  assert.equal(bounds.length, 4);
});

test('what a checkpoint would not have all of is refused, with the reason', () => {
  const whole: InstanceRecord = {
    version: 1,
    runtime: 'gvisor',
    init: { pid: 1, startTime: '1' },
    slot: 1,
    addressing: 'constant',
    policy: { kind: 'open' },
    agent: 'a',
  };
  const build = { agent: 'a' };
  requireWhole('gvisor', whole, build, false);
  const refused = (code: string, message: RegExp) => ({ code, message });
  assert.throws(() => requireWhole('runc', whole, build, false), refused('unimplemented', /needs gVisor/));
  assert.throws(() => requireWhole('gvisor', whole, build, true), refused('conflict', /has sidecars/));
  const mounted = [{ slot: 0, path: '/m', place: '/m', ids: [], layers: [] }];
  const cases: [Partial<InstanceRecord>, RegExp][] = [
    [{ joins: newInstanceId() }, /is a sidecar/],
    [{ devices: ['gpu'] }, /has GPUs/],
    [{ bucketNetwork: { slot: 2, addressing: 'constant' } }, /buckets/],
    [{ mounted }, /unmount them/],
    [{ addressing: 'own' }, /earlier version/],
    [{ agent: 'b' }, /earlier version/],
  ];
  for (const [change, message] of cases)
    assert.throws(
      () => requireWhole('gvisor', { ...whole, ...change }, build, false),
      refused('conflict', message),
    );
});
