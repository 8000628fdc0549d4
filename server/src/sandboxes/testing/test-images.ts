/** Images for tests, of busybox and what the tests put over it. */
import { join } from 'node:path';
import { createBusyboxLayer } from '../../engines/testing/busybox-layer.ts';
import { type ImageId, newLayerId } from '../../ids.ts';
import { emptyImageConfig, type ImageDefinition, plainDefinition } from '../../images/image.ts';
import type { ImageService } from '../../images/image-service.ts';
import type { ImageRepository } from '../../images/repositories.ts';

export const BASE_IMAGE = 'im-base' as ImageId;
/** What a Dockerfile's FROM and a caller of the REST interface name it by. */
const BASE_NAME = 'base';
const PROGRAMS = [
  'cat',
  'echo',
  'env',
  'false',
  'head',
  'httpd',
  'kill',
  'mkdir',
  'mkfifo',
  'mv',
  'nc',
  'printf',
  'pwd',
  'rm',
  'sh',
  'sleep',
  'test',
  'touch',
  'tr',
  'true',
  'wc',
];

/** The image that every test has; what an earlier server over the same directory made stays. */
export async function addBaseImage(
  store: ImageRepository,
  images: ImageService,
  dataDir: string,
): Promise<void> {
  if (store.get(BASE_IMAGE)) return;
  const layer = newLayerId();
  const image = {
    id: BASE_IMAGE,
    layers: [layer],
    config: { ...emptyImageConfig, env: { FROM_IMAGE: 'yes' } },
    builderVersion: '2025.06',
    createdAtMs: 0,
  };
  await createBusyboxLayer(join(dataDir, 'images', 'layers', layer), PROGRAMS);
  store.insertLayer(layer, 0, 0);
  store.insertReady(image, undefined);
  images.publish(image.id, BASE_NAME);
}

/** Builds an image of a Dockerfile, `FROM base` for one on the base image. @throws when that fails, with what it said */
export async function buildImage(
  images: ImageService,
  dockerfileLines: readonly string[],
  more: Partial<ImageDefinition> = {},
): Promise<ImageId> {
  const { id } = await images.getOrBuild({
    ...plainDefinition,
    dockerfileLines,
    builderVersion: '2025.06',
    ...more,
  });
  const log: string[] = [];
  for await (const event of images.follow(id, 0, AbortSignal.timeout(60_000))) {
    if (event.kind === 'log') log.push(event.entry.text);
    else if (event.result.kind !== 'success') throw new Error(`${event.result.message}\n${log.join('')}`);
  }
  return id;
}
