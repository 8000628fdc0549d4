import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Instance } from '../engines/engine.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import {
  type AppId,
  type EnvironmentId,
  type ImageId,
  type MemorySnapshotId,
  newAppId,
  newEnvironmentId,
  newImageId,
  newLayerId,
  newSandboxId,
  newTaskId,
} from '../ids.ts';
import { emptyImageConfig, type Image, type NewLayer, type NewLayerOptions } from '../images/image.ts';
import { openVault } from '../secrets/vault.ts';
import { openTestStore } from '../store/testing/open-test-store.ts';
import { createLogger } from '../telemetry/logger.ts';
import { checkpointsDir, MemorySnapshots } from './memory-snapshots.ts';
import type { SandboxSpec } from './spec.ts';
import type { Tenant } from './tenant.ts';

const dataDir = mkdtempSync(join(tmpdir(), 'skerry-memory-snapshots-'));
const store = openTestStore(dataDir);
after(() => {
  store.close();
  rmSync(dataDir, { recursive: true });
});
const DAY_MS = 24 * 3_600_000;
let nowMs = 1_000_000;
const directory = checkpointsDir(dataDir);
const deleted: ImageId[] = [];

/** Images that are made of whatever a snapshot takes. */
const images = {
  async addLayer(
    parent: Image,
    take: (layer: NewLayer) => Promise<void>,
    { ttlMs = 0, key }: NewLayerOptions = {},
  ) {
    await take({ ref: newLayerId(), directory: '' });
    const image = { ...parent, id: newImageId(), expiresAtMs: nowMs + ttlMs };
    store.images.insertReady(image, key);
    return image;
  },
  findAdded: (key: string) => store.images.findReady(key),
  async delete(id: ImageId) {
    deleted.push(id);
    store.images.markDeleted(id, nowMs);
  },
};
const open = () =>
  new MemorySnapshots({
    repository: store.memorySnapshots,
    vault: openVault(dataDir, undefined),
    logger: createLogger('silent'),
    now: () => nowMs,
    ...{ images, directory, others: [] },
  });

const sandbox = { id: newSandboxId(), taskId: newTaskId(), name: 'named', tags: { a: 'b' } };
// What of both no snapshot looks at is left out.
const spec = {
  appId: newAppId() as AppId,
  environmentId: newEnvironmentId() as EnvironmentId,
  mountIds: ['mo-1'],
  secretSources: [{ kind: 'inline', values: { SECRET: 'value' } }],
  resources: { memoryMiB: 0, memoryLimitMiB: 0, milliCpu: 0, milliCpuLimit: 0 },
  network: { kind: 'open' },
} as unknown as SandboxSpec;
const tenantOf = (checkpoint: (id: MemorySnapshotId) => Promise<void>) =>
  ({
    instance: { runtime: 'gvisor', networkPolicy: { kind: 'blocked' }, checkpoint } as Partial<Instance>,
    plan: {
      image: { id: newImageId(), layers: [], config: emptyImageConfig, builderVersion: '1', createdAtMs: 0 },
      env: { MODAL_SANDBOX_ID: sandbox.id, MODAL_TASK_ID: 'told otherwise', SECRET: 'value' },
      limits: { memoryMiB: 512, milliCpu: 2000, milliCpuRequest: 125, pids: 100 },
    },
  }) as unknown as Tenant;
const makes = async (id: MemorySnapshotId) => void mkdirSync(join(directory, id));
const settle = async () => [];

test('a snapshot says what others are to be, with nothing secret in plain, until it expires', async () => {
  const snapshots = open();
  const id = await snapshots.take({ ...sandbox, spec }, tenantOf(makes), settle);
  assert.deepEqual(snapshots.get(id).sandboxId, sandbox.id);
  const row = snapshots.row(id);
  const { resources, network, runtime, mountIds, name, tags } = row.spec;
  assert.deepEqual([resources.memoryLimitMiB, resources.milliCpuLimit], [512, 2000]);
  assert.deepEqual(
    [network, runtime, mountIds, name, tags],
    [{ kind: 'blocked' }, 'gvisor', [], 'named', { a: 'b' }],
  );
  const kept = store.database.prepare('SELECT * FROM memory_snapshots').get();
  assert.ok(!Object.values(kept ?? {}).some((value) => Buffer.from(String(value)).includes('value')));
  const [other, task] = [newSandboxId(), newTaskId()];
  assert.deepEqual(snapshots.environment(row, other, task), {
    MODAL_SANDBOX_ID: other,
    MODAL_TASK_ID: 'told otherwise',
    SECRET: 'value',
  });

  nowMs += 7 * DAY_MS - 1;
  snapshots.sweep();
  assert.ok(existsSync(join(directory, id)));
  nowMs += 1;
  assert.throws(() => snapshots.get(id), { code: 'not-found' });
  snapshots.sweep();
  assert.deepEqual([readdirSync(directory), store.memorySnapshots.ids()], [[], []]);
});

test('what fails half-way leaves nothing, and what a killed server left goes', async () => {
  const snapshots = open();
  const fails = tenantOf(async (id) => {
    await makes(id);
    throw new SkerryError('disk-full', 'no room');
  });
  await assert.rejects(snapshots.take({ ...sandbox, spec }, fails, settle), { code: 'disk-full' });
  const unstorable = {
    ...spec,
    get tags(): never {
      throw new Error('cannot be stored');
    },
  };
  await assert.rejects(snapshots.take({ ...sandbox, spec: unstorable }, tenantOf(makes), settle), /stored/);
  assert.deepEqual([readdirSync(directory), deleted.length], [[], 1]);

  const id = await snapshots.take({ ...sandbox, spec }, tenantOf(makes), settle);
  for (const left of ['sn-0000000000000000000000', 'sn-0000000000000000000001.partial'])
    mkdirSync(join(directory, left));
  assert.equal(open().get(id).id, id);
  assert.deepEqual(readdirSync(directory), [id]);
});

test('one can be deleted, and lists have the others', async () => {
  const snapshots = open();
  const before = snapshots.list().length;
  const other = { ...sandbox, id: newSandboxId() };
  const ids = [];
  for (const taken of [sandbox, other, other]) {
    nowMs += 1;
    ids.unshift(await snapshots.take({ ...taken, spec }, tenantOf(makes), settle));
  }
  const [third, second, first] = ids;
  assert.ok(first && second && third);
  const listed = (of?: typeof sandbox.id) => snapshots.list(of).map(({ id }) => id);
  assert.deepEqual([listed().slice(0, 3), listed(other.id)], [ids, [third, second]]);
  const { imageId } = snapshots.row(second).spec;
  await snapshots.delete(second);
  assert.deepEqual([listed().length, listed(other.id), deleted.at(-1)], [before + 2, [third], imageId]);
  assert.ok(!existsSync(join(directory, second)));
  await assert.rejects(snapshots.delete(second), { code: 'not-found' });
  for (const id of [first, third]) await snapshots.delete(id);
});

test('what sandboxes of an image begin from is found by its key alone, has nothing of the first one, and goes with its files', async () => {
  const snapshots = open();
  const id = await snapshots.takeWarmUp('key', { ...sandbox, spec }, tenantOf(makes), settle);
  const row = snapshots.warmUp('key');
  assert.equal(row?.id, id);
  assert.ok(row);
  assert.deepEqual(
    [row.spec.name, row.spec.tags, row.spec.args, row.spec.secretSources],
    [undefined, {}, [], []],
  );
  assert.deepEqual(snapshots.environment(row, newSandboxId(), newTaskId()), {});
  assert.equal(snapshots.warmUp('another'), undefined);
  assert.throws(() => snapshots.get(id), { code: 'not-found' });
  await assert.rejects(snapshots.delete(id), { code: 'not-found' });
  assert.ok(!snapshots.list().some((each) => each.id === id));
  open().sweep();
  assert.ok(existsSync(join(directory, id)));
  store.images.markDeleted(row.spec.imageId, nowMs); // as a collection does
  assert.equal(snapshots.warmUp('key'), undefined);
  snapshots.sweep();
  assert.ok(!existsSync(join(directory, id)));
  assert.ok(!store.memorySnapshots.ids().includes(id));
});

test('that of a fork is in no row and kept by a server that comes back, until it is let go of', async () => {
  const snapshots = open();
  const row = await snapshots.takeForFork({ ...sandbox, spec }, tenantOf(makes), settle);
  assert.throws(() => snapshots.get(row.id), { code: 'not-found' });
  assert.deepEqual([...open().unfinishedForks], [row.id]);
  const [other, task] = [newSandboxId(), newTaskId()];
  assert.equal(snapshots.environment(row, other, task).MODAL_SANDBOX_ID, other);
  snapshots.letGo(row);
  assert.deepEqual([[...open().unfinishedForks], existsSync(join(directory, row.id))], [[], false]);
  assert.equal(deleted.at(-1), row.spec.imageId);

  const unfinished = await snapshots.takeForFork({ ...sandbox, spec }, tenantOf(makes), settle);
  mkdirSync(join(directory, `${row.id}.partial`));
  const next = open();
  assert.ok(!existsSync(join(directory, `${row.id}.partial`)));
  next.forgetFork(unfinished.id);
  assert.deepEqual([...next.unfinishedForks], []);
});
