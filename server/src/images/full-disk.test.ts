/** Builds while the store takes nothing. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { DEFINITION, openImages, resultOf } from './testing/images.ts';

test('a build whose end cannot be stored has failed all the same, and is built anew when it is asked for again', async (t) => {
  const { images, refuse, stateOf } = await openImages(t);
  const accept = refuse('UPDATE');
  const first = await images.getOrBuild(DEFINITION);
  const failed = { kind: 'failure', message: /disk is full/ } as const;
  const told = await resultOf(images, first.id);
  assert.ok(told?.kind === failed.kind && failed.message.test(told.message), JSON.stringify(told));
  assert.equal(stateOf(first.id), 'building');
  assert.throws(() => images.get(first.id), /was not built/);
  accept();
  const second = await images.getOrBuild(DEFINITION);
  assert.notEqual(second.id, first.id);
  assert.deepEqual(await resultOf(images, second.id), { kind: 'success' });
  await images.close(); // whatever the store has not taken it takes now
  assert.equal(stateOf(first.id), 'failed');
});

test('a build that cannot even begin leaves no log', async (t) => {
  const { images, refuse, logs } = await openImages(t);
  const accept = refuse('INSERT');
  await assert.rejects(images.getOrBuild(DEFINITION), /disk is full/);
  assert.deepEqual(await readdir(logs), []);
  accept();
  const { id } = await images.getOrBuild(DEFINITION);
  assert.deepEqual(await resultOf(images, id), { kind: 'success' });
});
