/** Rows for tests of the store, with nothing in them but what is asked for. */

import {
  type AppId,
  type EnvironmentId,
  newAppId,
  newEnvironmentId,
  newImageId,
  newSandboxId,
  newTaskId,
} from '../../ids.ts';
import type { Image, ImageConfig } from '../../images/image.ts';
import type { StoredLife } from '../../sandboxes/life.ts';
import type { NewSandboxRow } from '../../sandboxes/repositories.ts';
import type { SandboxSpec } from '../../sandboxes/spec.ts';

export const appId: AppId = newAppId();
export const environmentId: EnvironmentId = newEnvironmentId();

/** 2001: more milliseconds than an integer of 32 bits has. */
export const NOW_MS = 1_000_000_000_000;

let made = 0;

/** Each is a millisecond younger than the one before. */
export function sandboxRow(
  spec: Partial<SandboxSpec> = {},
  rest: Partial<Omit<NewSandboxRow, 'spec'>> = {},
): NewSandboxRow {
  made++;
  return {
    id: newSandboxId(),
    taskId: newTaskId(),
    // The store reads nothing else of it.
    spec: {
      ...{ appId, environmentId, imageId: newImageId(), name: undefined, tags: {}, externalKey: undefined },
      ...{ secretSources: [], mountIds: [], args: [], volumes: [], ...spec },
    } as unknown as SandboxSpec,
    sealedEnv: new Uint8Array([0, 255, 39, 92]),
    sealedBuckets: undefined,
    createdAtMs: NOW_MS + made,
    tokenId: undefined,
    requestKey: undefined,
    ...rest,
  };
}

/** A life that is over. */
export const ended = (endedAtMs: number): StoredLife => ({
  ...{ state: 'ended', result: { kind: 'exited', exitCode: 3 }, endedAtMs },
  ...{
    slept: undefined,
    instance: undefined,
    startedAtMs: undefined,
    deadlineMs: undefined,
    readyAtMs: undefined,
  },
});

const config = { workdir: '/', user: '', stopSignal: 'SIGTERM' } as Partial<ImageConfig> as ImageConfig;

export const image = (layers: Image['layers'], rest: Partial<Image> = {}): Image => ({
  ...{ id: newImageId(), layers, config, builderVersion: '2025.06', createdAtMs: NOW_MS, ...rest },
});
