/** Builds while the store takes nothing. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { FakeEngine } from '../engines/testing/fake-engine.ts';
import type { ImageId } from '../ids.ts';
import { openStore } from '../store/store.ts';
import { createLogger } from '../telemetry/logger.ts';
import type { BuildResult, ImageDefinition } from './image.ts';
import { ImageService } from './image-service.ts';

const DEFINITION: ImageDefinition = {
  dockerfileLines: ['FROM scratch', 'ENV A=1'],
  baseImages: new Map(),
  contextFiles: [],
  buildArgs: {},
  secretEnv: {},
  registryCredentials: undefined,
  builderVersion: 'test',
  forceBuild: false,
  ignoreCache: false,
};

async function open(t: TestContext) {
  const dataDir = await mkdtemp(join(tmpdir(), 'skerry-full-'));
  const store = openStore(dataDir);
  const { database } = store;
  const images = new ImageService({
    repository: store.images,
    engine: new FakeEngine(join(dataDir, 'e'), ''), // no step of these builds runs anything
    dataDir,
    config: {
      buildRuntime: 'auto',
      debianMirror: '',
      registryMirrors: [],
      insecureRegistries: [],
      privateRegistries: [],
      registryTimeoutMs: 1000,
      goProxy: '',
      pypiIndex: '',
      npmRegistry: '',
      mavenRepository: '',
    },
    caEnvironment: {},
    logger: createLogger('silent'),
    clock: Date.now,
  });
  t.after(async () => {
    await images.close();
    store.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  /** No image can be `INSERT`ed or `UPDATE`d, until the returned function is called. */
  const refuse = (what: 'INSERT' | 'UPDATE') => {
    database.exec(
      `CREATE TEMP TRIGGER full BEFORE ${what} ON images BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END`,
    );
    return () => database.exec('DROP TRIGGER full');
  };
  const stateOf = (id: ImageId) => database.prepare('SELECT state FROM images WHERE id = ?').get(id)?.state;
  return { images, refuse, stateOf, logs: join(dataDir, 'images/logs') };
}

async function resultOf(images: ImageService, id: ImageId): Promise<BuildResult | undefined> {
  for await (const event of images.follow(id, 0, AbortSignal.timeout(30_000))) {
    if (event.kind === 'result') return event.result;
  }
  return undefined;
}

test('a build whose end cannot be stored has failed all the same, and is built anew when it is asked for again', async (t) => {
  const { images, refuse, stateOf } = await open(t);
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
  const { images, refuse, logs } = await open(t);
  const accept = refuse('INSERT');
  await assert.rejects(images.getOrBuild(DEFINITION), /disk is full/);
  assert.deepEqual(await readdir(logs), []);
  accept();
  const { id } = await images.getOrBuild(DEFINITION);
  assert.deepEqual(await resultOf(images, id), { kind: 'success' });
});
