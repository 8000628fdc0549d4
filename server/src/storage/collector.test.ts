/** What a collection takes and what it leaves, over the real store, with sandboxes on the fake engine. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ImageId } from '../ids.ts';
import { type Image, plainDefinition } from '../images/image.ts';
import { Domain, deadline } from '../sandboxes/testing/domain.ts';
import { BASE_IMAGE } from '../sandboxes/testing/test-images.ts';
import type { CacheConfig } from './collector.ts';
import { CacheSetting, sha256 } from './testing/cache-setting.ts';

const skip = process.getuid?.() === 0 ? false : 'layers are made by mounting';
const DAY_MS = 24 * 3_600_000;
const MIB = 2 ** 20;

async function setUp(t: TestContext, config: Partial<CacheConfig> = {}) {
  const clock = { ms: Date.now() };
  const domain = await Domain.open({ now: () => clock.ms });
  t.after(() => domain[Symbol.asyncDispose]());
  const { images, blobs, mounts, dataDir } = domain;
  const setting = new CacheSetting(domain, () => clock.ms, { config });
  return {
    ...{ domain, images, blobs, mounts, dataDir, clock, collector: setting.collector, setting },
    build: setting.build.bind(setting),
    mount: setting.mount.bind(setting),
    isThere: setting.isThere.bind(setting),
    pass: (ms: number) => {
      clock.ms += ms;
    },
    layersOnDisk: () => readdir(join(dataDir, 'images/layers')),
  };
}

test('what nobody used for the time goes, with its steps and its files; asked for again it is built again', {
  skip,
}, async (t) => {
  const { images, collector, build, pass, isThere, layersOnDisk } = await setUp(t);
  const before = await layersOnDisk();
  const old = await build('old');
  pass(29 * DAY_MS);
  const young = await build('young');
  assert.equal((await collector.collect()).layers, 0);
  pass(2 * DAY_MS);
  const dry = await collector.collect({ dryRun: true });
  assert.deepEqual([dry.layers, isThere(old)], [1, true]);
  const done = await collector.collect();
  assert.deepEqual([done.layers, done.images], [1, 1]);
  assert.deepEqual([isThere(old), isThere(young)], [false, true]);
  assert.throws(() => images.get(old.id), { code: 'not-found', message: /Could not find image with ID im-/ });
  const own = [...before, ...young.layers.slice(-1)];
  assert.deepEqual((await layersOnDisk()).sort(), own.sort());
  const again = await build('old');
  assert.notEqual(again.id, old.id);
  assert.ok(isThere(again));
});

test('every use counts: a build that is cached, a look at the id, an image on it, a sandbox until its end', {
  skip,
}, async (t) => {
  const { domain, images, collector, build, pass, isThere } = await setUp(t);
  const [cached, seen, below, ran, unused] = [
    await build('cached'),
    await build('seen'),
    await build('below'),
    await build('ran'),
    await build('unused'),
  ];
  const sandbox = await domain.running({ imageId: ran.id });
  pass(29 * DAY_MS);
  assert.equal((await build('cached')).id, cached.id);
  images.use(seen.id);
  const above = await build('above', below.id);
  await sandbox.terminate();
  assert.equal(domain.storedState(sandbox), 'ended');
  pass(2 * DAY_MS);
  await collector.collect();
  assert.deepEqual([cached, seen, below, above, ran, unused].map(isThere), [
    true,
    true,
    true,
    true,
    true,
    false,
  ]);
  domain.manager.sweep(); // the row of the sandbox is gone, what it says of its image is not
  await collector.collect();
  assert.ok(isThere(ran));
});

test('what somebody uses or could not have again never goes', { skip }, async (t) => {
  const { domain, images, collector, setting, build, mount, pass, isThere, blobs } = await setUp(t);
  const [published, running, mounted, below] = [
    await build('published'),
    await build('running'),
    await build('mounted'),
    await build('below'),
  ];
  images.publish(published.id, 'name');
  const snapshot = await setting.snapshot(below);
  const mountId = await mount('file-of-a-running-one');
  const sandbox = await domain.running({ imageId: running.id, mountIds: [mountId] });
  images.holdLayers(sandbox.taskId, mounted.layers);
  const [root] = domain.store.database.prepare('SELECT image_id FROM task_images').all();
  const withFiles = images.get(root?.image_id as ImageId); // the column holds nothing else
  pass(365 * DAY_MS);
  await collector.collect({ unusedForMs: 0 });
  await collector.collect({ unusedForMs: 0 });
  assert.deepEqual([published, running, mounted, below, snapshot, withFiles].map(isThere), [
    true,
    true,
    true,
    true,
    true,
    true,
  ]);
  assert.ok(blobs.has(sha256('file-of-a-running-one')));
  assert.ok(domain.mounts.files(mountId));
  await sandbox.terminate();
  pass(1);
  images.unpublish('name');
  pass(1);
  await collector.collect({ unusedForMs: 0 });
  assert.deepEqual(
    [published, running, mounted, below, snapshot, withFiles].map(isThere),
    // What is below a snapshot takes no room of its own, so it is left where it is.
    [false, false, false, true, true, false],
  );
  assert.throws(() => domain.mounts.files(mountId), { code: 'not-found' });
});

test('a sandbox that a server which was killed had is none to be collected under', { skip }, async (t) => {
  const { domain, build, mount } = await setUp(t);
  const image = await build('image');
  const mountId = await mount('file');
  const sandbox = await domain.running({ imageId: image.id, mountIds: [mountId] });
  const next = await domain.restart({ now: () => Date.now() + 365 * DAY_MS });
  t.after(() => next[Symbol.asyncDispose]());
  const setting = new CacheSetting(next, () => Date.now() + 365 * DAY_MS);
  await setting.collector.collect({ unusedForMs: 0 });
  assert.deepEqual([setting.isThere(image), setting.hasMount(mountId)], [true, true]);
  assert.equal(next.storedState(sandbox), 'running');
});

test('beyond its bound the cache loses what was used least recently; what was used just now stays', {
  skip,
}, async (t) => {
  const { collector, build, pass, isThere } = await setUp(t, { cacheMaxMiB: 3 });
  const large = 'x'.repeat(1.5 * MIB);
  const made: Image[] = [];
  for (const name of ['a', 'b', 'c']) {
    made.push(await build(name, BASE_IMAGE, large + name));
    pass(3 * 3_600_000);
  }
  await build('a', BASE_IMAGE, `${large}a`);
  pass(3 * 3_600_000);
  await collector.collect();
  assert.deepEqual(made.map(isThere), [true, false, false]);
  for (const name of ['d', 'e', 'f']) made.push(await build(name, BASE_IMAGE, large + name));
  await collector.collect();
  assert.deepEqual(made.slice(3).map(isThere), [true, true, true], 'within the hour');
});

test('where the disk has less free than it should, as much goes as it lacks', { skip }, async (t) => {
  const { collector, build, pass, isThere } = await setUp(t, { cacheMinFreeMiB: 1_000_000_000 });
  const image = await build('image');
  await collector.collect();
  assert.ok(isThere(image), 'within the hour');
  pass(2 * 3_600_000);
  await collector.collect();
  assert.equal(isThere(image), false);
});

test('uploaded files go with the mounts that have them, and stay while a build reads them', {
  skip,
}, async (t) => {
  const { blobs, mounts, dataDir, collector, setting, mount, pass } = await setUp(t);
  const [old, other, held] = [await mount('one', 'two'), await mount('two', 'three'), await mount('held')];
  const release = blobs.hold([blobs.path(sha256('held'))]);
  pass(29 * DAY_MS);
  for (const { sha256Hex } of mounts.files(other)) blobs.path(sha256Hex);
  pass(2 * DAY_MS);
  assert.equal((await collector.collect()).files, 1, 'the one that only the old mount has');
  assert.deepEqual(
    [old, other, held].map((id) => setting.hasMount(id)),
    [false, true, true],
  );
  const files = await readdir(join(dataDir, 'blobs/sha256'), { recursive: true });
  assert.equal(
    files.some((path) => path.endsWith(sha256('one'))),
    false,
  );
  release();
  assert.ok(blobs.has(sha256('held')));
  await collector.collect({ unusedForMs: 0 });
  assert.ok(setting.hasMount(held), 'somebody asked for it in this moment');
  pass(1);
  await collector.collect({ unusedForMs: 0 });
  assert.equal(setting.hasMount(held), false);
});

test('a build has what it is built from to its end, whatever is collected meanwhile', { skip }, async (t) => {
  const { images, blobs, collector, build, mount, pass } = await setUp(t);
  const base = await build('base');
  await mount('context');
  const building = images.getOrBuild({
    ...plainDefinition,
    dockerfileLines: ['FROM base', 'WORKDIR /made', 'COPY context /'],
    baseImages: new Map([['base', base.id]]),
    contextFiles: [{ path: 'context', content: { file: blobs.path(sha256('context')) }, mode: 0o644 }],
    builderVersion: 'test',
  });
  let over = false;
  const collecting = (async () => {
    while (!over) {
      pass(60 * DAY_MS);
      await collector.collect({ unusedForMs: 0 });
    }
  })();
  const { id } = await building;
  const followed: unknown[] = [];
  for await (const event of images.follow(id, 0, deadline())) followed.push(event);
  over = true;
  await collecting;
  assert.deepEqual(followed.at(-1), { kind: 'result', result: { kind: 'success' } });
});
