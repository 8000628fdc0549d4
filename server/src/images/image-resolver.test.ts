import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { SkerryError } from '../errors/skerry-error.ts';
import { Domain, deadline, eventually } from '../sandboxes/testing/domain.ts';
import { BASE_IMAGE } from '../sandboxes/testing/test-images.ts';
import { DefaultImage } from './default-image.ts';
import { ImageResolver } from './image-resolver.ts';

/** A resolver whose callers wait for next to nothing, over a default image of that Dockerfile. */
async function resolverOver(domain: Domain, dockerfile = 'FROM base') {
  const { images, logger } = domain;
  const directory = join(domain.root, 'default-image');
  await mkdir(directory);
  await writeFile(join(directory, 'Dockerfile'), dockerfile);
  const defaultImage = new DefaultImage({ images, directory, logger });
  const resolver = new ImageResolver({ images, defaultImage, patienceMs: 1 });
  return { defaultImage, resolve: (imageId?: string) => resolver.resolve(imageId, deadline()) };
}

const isCode = (code: string) => (error: unknown) => error instanceof SkerryError && error.code === code;

test('ids are looked up, names are found among our own first', async () => {
  await using domain = await Domain.open();
  const { resolve } = await resolverOver(domain);
  assert.equal((await resolve(BASE_IMAGE)).id, BASE_IMAGE);
  await assert.rejects(resolve('im-none'), isCode('not-found'));
  assert.equal((await resolve('base')).id, BASE_IMAGE);
  assert.equal((await resolve('base:latest')).id, BASE_IMAGE);
});

test('a build that failed while nobody waited is told to the next caller, once, and then tried again', async () => {
  await using domain = await Domain.open();
  const { resolve, defaultImage } = await resolverOver(domain, 'FROM base\nRUN echo "no such thing"; false');
  const builds = () => domain.log.filter(({ msg }) => msg === 'image.build').length;
  for (const attempt of [1, 2]) {
    const held = domain.engine.faults.hold('prepare');
    await assert.rejects(resolve(), isCode('unavailable'));
    await assert.rejects(resolve(''), isCode('unavailable'), 'the same build');
    held.release();
    await eventually(() => defaultImage.state.kind === 'failed');
    await assert.rejects(resolve(), { code: 'image-build-failed', message: /no such thing/ });
    assert.equal(builds(), attempt);
  }
});

test('what is fetched is fetched once for all who ask, and found by who comes back', async () => {
  await using domain = await Domain.open();
  const fetched = Promise.withResolvers<void>();
  const asked: string[] = [];
  domain.images.fromReference = async (reference) => {
    asked.push(reference);
    await fetched.promise;
    return domain.images.get(BASE_IMAGE);
  };
  const { resolve } = await resolverOver(domain);
  await Promise.all([1, 2, 3].map(() => assert.rejects(resolve('slow:1'), isCode('unavailable'))));
  assert.deepEqual(asked, ['slow:1']);
  fetched.resolve();
  assert.equal((await resolve('slow:1')).id, BASE_IMAGE);
});

test('so many are fetched at once; failures that nobody asks for again take no room', async () => {
  await using domain = await Domain.open();
  domain.images.fromReference = async (reference) => {
    await new Promise(setImmediate);
    if (reference.startsWith('gone:')) throw new SkerryError('image-build-failed', 'no way to get it');
    return new Promise(() => {});
  };
  const { resolve } = await resolverOver(domain);
  const ask = (name: string) => resolve(name).catch((error: SkerryError) => error.code);
  for (let index = 0; index < 40; index++) await ask(`gone:${index}`);
  for (let index = 0; index < 32; index++) assert.equal(await ask(`slow:${index}`), 'unavailable');
  assert.equal(await ask('more:1'), 'resource-exhausted');
  assert.equal(await ask('slow:1'), 'unavailable', 'those that are fetched are waited for');
});
