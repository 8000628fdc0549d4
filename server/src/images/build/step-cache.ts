/** The step cache: what a step gave before, and one run of a step however many builds need it at the same time. */
import { createHash } from 'node:crypto';
import { firstError } from '../../errors/first-error.ts';
import type { LayerId } from '../../ids.ts';
import { unlessAborted } from '../../platform/wait.ts';
import type { ImageDefinition } from '../image.ts';
import type { LayerStore } from '../layer-store.ts';
import type { ImageRepository } from '../repositories.ts';

/** How a build uses the cache: as it is, writing over it, or not at all. */
export type CacheMode = 'use' | 'replace' | 'ignore';

/** Changing how a step is carried out changes this, so that no result of an earlier way is used. */
const KEY_VERSION = 1;

/** The key of a step: a digest of everything its result depends on. `inputs` must be plain data with its keys in a fixed order. */
export function stepKey(kind: string, parents: readonly LayerId[], inputs: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify([KEY_VERSION, kind, parents, inputs]))
    .digest('hex');
}

/** Name and value pairs in one order, for keys. */
export const sorted = (values: Readonly<Record<string, string>>): [string, string][] =>
  Object.entries(values).toSorted(([a], [b]) => (a < b ? -1 : 1));

/**
 * What else than its instruction decides what a RUN gives: the names of its secret variables, the values of those that count, and which volumes it has, where and how, not what they
 * hold. What there is none of adds nothing, so that keys stay what they were before there was any.
 */
export const surroundingsKey = ({
  secretEnv,
  secretFingerprint,
  volumes,
}: Pick<ImageDefinition, 'secretEnv' | 'secretFingerprint' | 'volumes'>): readonly unknown[] => [
  Object.keys(secretEnv).sort(),
  ...(secretFingerprint === undefined ? [] : [secretFingerprint]),
  ...(volumes.length === 0
    ? []
    : [volumes.map(({ volumeId, target, readOnly, subPath }) => [volumeId, target, readOnly, subPath])]),
];

export interface StepResult {
  /** `null` when the step changed no file. */
  readonly layer: LayerId | null;
  readonly cached: boolean;
}

export interface StepEvents {
  /** The step is not cached: it will take time. */
  onMiss(): void;
  /** Another build carries it out at this moment. */
  onJoin(): void;
}

export class StepCache {
  readonly #store: ImageRepository;
  readonly #layers: LayerStore;
  readonly #now: () => number;
  readonly #running = new Map<string, Promise<LayerId | null>>();

  constructor(store: ImageRepository, layers: LayerStore, now: () => number) {
    this.#store = store;
    this.#layers = layers;
    this.#now = now;
  }

  /**
   * The layer of a step, made by `make` unless it is cached or being made. The layer is pinned once for the caller, who unpins it.
   * @throws what `make` throws; joiners get it too, unless it was the first caller's abort
   */
  async get(
    key: string,
    mode: CacheMode,
    signal: AbortSignal,
    events: StepEvents,
    make: () => Promise<LayerId | null>,
  ): Promise<StepResult> {
    if (mode !== 'use') {
      events.onMiss();
      const layer = await make();
      if (mode === 'replace') this.#keep(key, layer);
      return { layer, cached: false };
    }
    for (;;) {
      signal.throwIfAborted();
      const known = this.#store.getStep(key);
      if (known === null) {
        this.#store.touchStep(key, this.#now());
        return { layer: null, cached: true };
      }
      if (known !== undefined && this.#layers.has(known)) {
        this.#layers.pin(known);
        this.#touch(key, known);
        return { layer: known, cached: true };
      }
      events.onMiss();
      const running = this.#running.get(key);
      if (!running) return { layer: await this.#make(key, make), cached: false };
      events.onJoin();
      // Its result is in the cache when it worked; when it was aborted, this build takes its turn.
      await unlessAborted(running, signal).catch((error: unknown) => {
        if (!isAbort(error)) throw error;
      });
    }
  }

  /** When that cannot be written down, the caller does not get the layer. */
  #touch(key: string, layer: LayerId): void {
    try {
      this.#store.touchStep(key, this.#now());
    } catch (error) {
      this.#layers.unpin([layer]);
      throw error;
    }
  }

  async #make(key: string, make: () => Promise<LayerId | null>): Promise<LayerId | null> {
    const made = make().then((layer) => {
      this.#keep(key, layer);
      return layer;
    });
    this.#running.set(key, made);
    try {
      return await made;
    } finally {
      this.#running.delete(key);
    }
  }

  /** When it cannot be written down, the caller does not get the layer and cannot let go of it. */
  #keep(key: string, layer: LayerId | null): void {
    try {
      this.#store.putStep(key, layer, this.#now());
    } catch (error) {
      if (layer !== null) this.#layers.unpin([layer]);
      throw error;
    }
  }
}

/** Thrown through builds that are to end: a restart, a deletion, or the caller's own signal. */
export class BuildAborted extends Error {
  override readonly name = 'BuildAborted';
}

/** The build itself was too slow. Others that wait for the step it was at take their turn, as after any abort. */
export class BuildTimedOut extends BuildAborted {}

const isAbort = (thrown: unknown) => {
  const error = firstError(thrown);
  return error instanceof BuildAborted || (error instanceof Error && error.name === 'AbortError');
};
