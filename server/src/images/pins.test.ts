/** Layers that something still needs stay, whatever is deleted meanwhile; others go. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Image, NewLayer } from './image.ts';
import type { ImageService } from './image-service.ts';
import { DEFINITION, openImages, resultOf } from './testing/images.ts';

const layer =
  (name: string) =>
  async ({ directory }: Pick<NewLayer, 'directory'>) => {
    await mkdir(directory);
    await writeFile(join(directory, name), name);
  };

async function scratch(images: ImageService): Promise<Image> {
  const { id } = await images.getOrBuild(DEFINITION);
  await resultOf(images, id);
  return images.get(id);
}

test('an image that is deleted while a snapshot is taken on it leaves the snapshot its layers', async (t) => {
  const { images } = await openImages(t);
  const parent = await images.addLayer(await scratch(images), layer('below'));
  const snapshot = await images.addLayer(parent, async (made) => {
    await images.delete(parent.id);
    await layer('above')(made);
  });
  assert.equal(snapshot.layers.length, 2);
  for (const path of images.layerDirectories(snapshot)) assert.ok(existsSync(path), path);
  await images.delete(snapshot.id);
  for (const path of images.layerDirectories(snapshot))
    assert.equal(existsSync(path), false, 'held by nothing');
});

test('a snapshot on layers that are gone is refused, and one that fails holds none', async (t) => {
  const { images, refuse, layers } = await openImages(t);
  const parent = await images.addLayer(await scratch(images), layer('below'));
  const no = () => Promise.reject(new Error('no'));
  await assert.rejects(images.addLayer(parent, no), /no/);
  const accept = refuse('INSERT');
  await assert.rejects(images.addLayer(parent, layer('above')), /disk is full/);
  accept();
  await images.delete(parent.id);
  assert.deepEqual(await readdir(layers), []);
  await assert.rejects(images.addLayer(parent, layer('above')), { code: 'not-found' });
  assert.deepEqual(await readdir(layers), []);
});

test('a snapshot is gone at its time, though nothing swept, and its layers with the sweep; what was made on it stays', async (t) => {
  let nowMs = 1_000_000;
  const { images, layers } = await openImages(t, () => nowMs);
  const base = await scratch(images);
  const short = await images.addLayer(base, layer('short'), { ttlMs: 1000 });
  const [ever, onwards] = [
    await images.addLayer(base, layer('ever')),
    await images.addLayer(short, layer('onwards')),
  ];
  images.publish(short.id, 'named');
  nowMs = 1_000_999;
  await images.sweep();
  assert.equal(images.get(short.id).expiresAtMs, 1_001_000);
  nowMs = 1_001_000;
  assert.throws(() => images.get(short.id), { code: 'not-found' });
  assert.equal((await readdir(layers)).length, 3);
  await images.delete(onwards.id);
  await images.sweep();
  assert.deepEqual(await readdir(layers), ever.layers);
  assert.throws(() => images.getByName('named'), { code: 'not-found' });
  assert.equal(images.get(ever.id).expiresAtMs, undefined);
});
