/** The image service over a real store, for what needs no step that runs anything. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { treesBinaryPath } from '../../agent/agent-binary.ts';
import { FakeEngine } from '../../engines/testing/fake-engine.ts';
import type { ImageId } from '../../ids.ts';
import { InstanceService } from '../../instances/instance-service.ts';
import { openTestStore } from '../../store/testing/open-test-store.ts';
import { refuseChanges } from '../../store/testing/refuse-changes.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { type BuildResult, type ImageDefinition, plainDefinition } from '../image.ts';
import { ImagePlaces } from '../image-places.ts';
import { ImageService, type ImageServiceOptions } from '../image-service.ts';

export const DEFINITION: ImageDefinition = {
  ...plainDefinition,
  dockerfileLines: ['FROM scratch', 'ENV A=1'],
  builderVersion: 'test',
};

/** Settings under which nothing is fetched from anywhere. */
export const TEST_IMAGE_CONFIG: ImageServiceOptions['config'] = {
  buildRuntime: 'auto',
  ...{ buildMemoryMiB: 8192, buildPids: 8192, buildTimeoutMinutes: 60 },
  ...{ buildDiskMiB: 128, defaultDiskMiB: 64, defaultDiskFiles: 4096 },
  debianMirror: '',
  registryMirrors: [],
  insecureRegistries: [],
  privateRegistries: [],
  registryTimeoutMs: 1000,
  ecrEndpoint: '',
  goProxy: '',
  pypiIndex: '',
  npmRegistry: '',
  mavenRepository: '',
};

/** For builds that mount none. */
export const NO_VOLUMES: ImageServiceOptions['volumes'] = {
  attach: async () => [],
  detach: async () => {},
};

export async function openImages(
  t: { after(end: () => Promise<void>): void },
  clock = Date.now,
  config: Partial<ImageServiceOptions['config']> = {},
) {
  const dataDir = await mkdtemp(join(tmpdir(), 'skerry-full-'));
  const store = openTestStore(dataDir);
  const { database } = store;
  const log: string[] = [];
  const images = new ImageService({
    repository: store.images,
    uses: store.imageUses,
    holdFiles: () => () => {},
    instances: new InstanceService({
      engine: new FakeEngine(join(dataDir, 'e'), '', ImagePlaces.in(dataDir)), // no step of these builds runs anything
      logger: createLogger('silent'),
    }),
    volumes: NO_VOLUMES,
    dataDir,
    treesBinaryPath: treesBinaryPath(),
    config: { ...TEST_IMAGE_CONFIG, ...config },
    caEnvironment: {},
    logger: createLogger('info', { write: (line) => log.push(line) }),
    clock,
  });
  t.after(async () => {
    await images.close();
    store.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  /** No image can be `INSERT`ed or `UPDATE`d, until the returned function is called. */
  const refuse = (what: 'INSERT' | 'UPDATE') => refuseChanges(database, what, 'images');
  const stateOf = (id: ImageId) => database.prepare('SELECT state FROM images WHERE id = ?').get(id)?.state;
  return {
    images,
    refuse,
    stateOf,
    log,
    logs: join(dataDir, 'images/logs'),
    layers: join(dataDir, 'images/layers'),
  };
}

export async function resultOf(images: ImageService, id: ImageId): Promise<BuildResult | undefined> {
  for await (const event of images.follow(id, 0, AbortSignal.timeout(30_000))) {
    if (event.kind === 'result') return event.result;
  }
  return undefined;
}
