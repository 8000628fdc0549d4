/**
 * Images are built, snapshots taken, names given and taken away, files mounted and sandboxes started and ended in any order and at once, while everything that
 * nobody uses at the moment is collected all the time: who was told that something is there has it for as long as it is used, and whole.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { SkerryError } from '../errors/skerry-error.ts';
import type { ImageId } from '../ids.ts';
import type { Image } from '../images/image.ts';
import { Domain, deadline, output } from '../sandboxes/testing/domain.ts';
import { CacheSetting, sha256 } from './testing/cache-setting.ts';

const skip = process.getuid?.() === 0 ? false : 'layers are made by mounting';
const RUNS = Number(process.env.SKERRY_TEST_RACES) || 3;
/** Deeds of one actor; all actors are at work at the same time. */
const deeds = fc.array(
  fc.record({
    deed: fc.constantFrom('build', 'snapshot', 'name', 'unname', 'run', 'run with files', 'end', 'delete'),
    /** Which image, name, sandbox: of those there are. */
    which: fc.nat(3),
  }),
  { minLength: 6, maxLength: 12 },
);

test('whatever goes on meanwhile, nothing goes that somebody uses', { skip }, async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.tuple(deeds, deeds, deeds), async (actors) => {
      const domain = await Domain.open();
      try {
        await race(domain, actors);
      } finally {
        await domain[Symbol.asyncDispose]();
      }
    }),
    { numRuns: RUNS, endOnFailure: true },
  );
  t.diagnostic(`${RUNS} runs`);
});

type Deeds = ReturnType<(typeof deeds)['generate']>['value'];

async function race(domain: Domain, actors: readonly Deeds[]): Promise<void> {
  const { images, manager } = domain;
  // Always a little later than everything that was used before, so that nothing is too young.
  const setting = new CacheSetting(domain, () => Date.now() + 1);
  const snapshots: { readonly image: Image; readonly text: string }[] = [];
  const deleted = new Set<ImageId>();
  /** By all actors, who share images: what one of them has named none of them deletes. */
  const named = new Map<string, ImageId>();
  let over = false;
  const collecting = (async () => {
    while (!over) await setting.collector.collect({ unusedForMs: 0 });
  })();

  const act = async (actor: number, list: Deeds): Promise<void> => {
    const built: Image[] = [];
    const running: { readonly id: Parameters<typeof manager.get>[0]; readonly file: string }[] = [];
    for (const [turn, { deed, which }] of list.entries()) {
      const image = built[which % (built.length || 1)];
      const name = `n-${actor}-${which}`;
      switch (deed) {
        case 'build': {
          // The same few definitions by all, so that they share builds and steps.
          const made = await unlessGone(setting.build(`file-${which}`, image?.id));
          if (made) built.push(made);
          break;
        }
        case 'snapshot': {
          const text = `${actor} ${turn}`;
          const taken = image && (await unlessGone(setting.snapshot(image, text)));
          if (taken) snapshots.push({ image: taken, text });
          break;
        }
        case 'name':
          if (image && setting.isThere(image) && !deleted.has(image.id)) {
            images.publish(image.id, name);
            named.set(name, image.id);
          }
          break;
        case 'unname':
          if (named.delete(name)) images.unpublish(name);
          break;
        case 'run':
        case 'run with files': {
          const text = `mounted-${which}`;
          const mountIds = deed === 'run' ? [] : await unlessGone(setting.mount(text).then((id) => [id]));
          const spec = { ...(image && { imageId: image.id }), mountIds: mountIds ?? [] };
          const sandbox = await unlessGone(domain.create(spec));
          if (!sandbox) break;
          await sandbox.waitUntilRunning(deadline());
          running.push({ id: sandbox.id, file: mountIds?.length ? `/files/${text}` : '' });
          break;
        }
        case 'end': {
          const [one] = running.splice(which % (running.length || 1), 1);
          if (one) await manager.get(one.id).terminate();
          break;
        }
        case 'delete':
          if (image && ![...named.values()].includes(image.id)) {
            deleted.add(image.id);
            await unlessGone(images.delete(image.id));
          }
          break;
        default:
          deed satisfies never;
      }
      for (const [each, id] of named) {
        assert.equal(images.getByName(each), id);
        assert.ok(setting.isThere({ id }), `${each} is named`);
      }
      for (const { image: taken } of snapshots) assert.ok(setting.isThere(taken), 'a snapshot');
      for (const { id, file } of running) {
        const sandbox = manager.get(id);
        const used = images.getUsed(sandbox.spec.imageId);
        for (const path of images.layerDirectories(used)) readdirSync(path);
        assert.ok(deleted.has(used.id) || setting.isThere(used), 'a sandbox runs on it');
        for (const mount of sandbox.spec.mountIds) assert.ok(setting.hasMount(mount));
        if (file) assert.equal(await output(sandbox, ['cat', file]), file.slice('/files/'.length));
      }
    }
    for (const { id } of running) await manager.get(id).terminate();
  };
  try {
    await Promise.all(actors.map((list, actor) => act(actor, list)));
  } finally {
    over = true;
    await collecting;
  }
  for (const { image, text } of snapshots) {
    const [top = ''] = images.layerDirectories(image).slice(-1);
    assert.equal(sha256(readFileSync(join(top, 'snapshot'), 'utf8')), sha256(text));
  }
  // All that is on the disk is somebody's.
  await setting.collector.collect({ unusedForMs: 0 });
  const kept = new Set<string>(domain.store.images.allLayers());
  assert.deepEqual(new Set(readdirSync(join(domain.dataDir, 'images/layers'))), kept);
}

/** What was collected before anybody held it is not found; a client asks for it anew. */
async function unlessGone<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    const gone = error instanceof SkerryError && (error.code === 'not-found' || error.code === 'conflict');
    if (gone) return undefined;
    throw error;
  }
}
