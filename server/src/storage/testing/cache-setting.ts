/** Images and uploaded files over the real store and the real domain, and a collector of them. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { ImageId, MountId } from '../../ids.ts';
import { type Image, type NewLayer, plainDefinition } from '../../images/image.ts';
import { resultOf } from '../../images/testing/images.ts';
import type { FaultPoint } from '../../platform/fault-points.ts';
import type { Domain } from '../../sandboxes/testing/domain.ts';
import { BASE_IMAGE } from '../../sandboxes/testing/test-images.ts';
import { type CacheConfig, Collector } from '../collector.ts';

/** Bounds that nothing comes to, but for a month. */
export const ROOMY: CacheConfig = {
  cacheMaxDays: 30,
  cacheMaxMiB: 1_000_000,
  cacheMinFreeMiB: 1,
  cacheProtectHours: 1,
};

export const sha256 = (data: string): string => createHash('sha256').update(data).digest('hex');

export class CacheSetting {
  readonly domain: Domain;
  readonly collector: Collector;

  constructor(
    domain: Domain,
    now: () => number,
    { config, faultPoint }: { readonly config?: Partial<CacheConfig>; readonly faultPoint?: FaultPoint } = {},
  ) {
    const { images, blobs, mounts, dataDir, logger } = domain;
    this.domain = domain;
    this.collector = new Collector({
      ...{ images: images.cache, blobs, mounts, dataDir, logger, now },
      config: { ...ROOMY, ...config },
      ...(faultPoint && { faultPoint }),
    });
  }

  /**
   * An image with one file of that name and content over another.
   * @throws SkerryError `not-found` when that other one is gone, also when it went after the build began; AssertionError when the build fails otherwise
   */
  async build(name: string, base: ImageId = BASE_IMAGE, text = name): Promise<Image> {
    const { images } = this.domain;
    const { id } = await images.getOrBuild({
      ...plainDefinition,
      dockerfileLines: ['FROM base', `COPY ${name} /`],
      baseImages: new Map([['base', base]]),
      contextFiles: [{ path: name, content: { bytes: Buffer.from(text) }, mode: 0o644 }],
      builderVersion: 'test',
    });
    const result = await resultOf(images, id);
    if (result?.kind === 'failure' && result.message.startsWith(`Could not find image with ID ${base}.`)) {
      throw new SkerryError('not-found', result.message);
    }
    assert.deepEqual(result, { kind: 'success' });
    return images.get(id);
  }

  /** A snapshot on an image, with a file `snapshot` of that content. */
  snapshot(on: Image, text = 'snapshot'): Promise<Image> {
    return this.domain.images.addLayer(on, async ({ directory }: Pick<NewLayer, 'directory'>) => {
      await mkdir(directory);
      await writeFile(join(directory, 'snapshot'), text);
    });
  }

  /** Uploads a file for each of the texts and makes a mount of them. */
  async mount(...texts: string[]): Promise<MountId> {
    for (const text of texts) await this.domain.blobs.putBytes(sha256(text), Buffer.from(text));
    const files = texts.map((text) => ({ path: `/files/${text}`, sha256Hex: sha256(text), mode: 0o644 }));
    return this.domain.mounts.create(files).id;
  }

  /** Whether clients find it. Asserts that each of its layers is on the disk then. */
  isThere({ id }: Pick<Image, 'id'>): boolean {
    const { images } = this.domain;
    const image = found(() => images.get(id));
    if (image) for (const path of images.layerDirectories(image)) assert.ok(existsSync(path), path);
    return image !== undefined;
  }

  /** Whether a mount is there. Asserts that each of its files is there, and is what it was, then. */
  hasMount(id: MountId): boolean {
    const { mounts, dataDir } = this.domain;
    const files = found(() => mounts.files(id));
    for (const { sha256Hex } of files ?? []) {
      // Not by way of the store, which would take it for a use.
      const path = join(dataDir, 'blobs/sha256', sha256Hex.slice(0, 2), sha256Hex);
      assert.equal(sha256(readFileSync(path, 'utf8')), sha256Hex);
    }
    return files !== undefined;
  }
}

function found<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (error instanceof SkerryError && error.code === 'not-found') return undefined;
    throw error;
  }
}
