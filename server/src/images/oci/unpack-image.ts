/** From an image of somebody else's to layers of ours: each is unpacked on those below it, once for all images that begin alike. */
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { LayerId } from '../../ids.ts';
import { type StepCache, type StepEvents, stepKey } from '../build/step-cache.ts';
import { withStep } from '../history.ts';
import type { ImageConfig } from '../image.ts';
import type { LayerStore } from '../layer-store.ts';
import { editLayer } from '../layers/edit-layer.ts';
import type { ForeignImage } from './layout.ts';

interface Parts {
  readonly layers: LayerStore;
  readonly steps: StepCache;
  /** What the files of one layer may hold. */
  readonly maxLayerBytes: number;
}

interface Request {
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
  readonly events: StepEvents;
}

/**
 * The layers are pinned once for the caller. Digests of the image's files must have been checked.
 * @throws SkerryError `image-build-failed` for a layer that is damaged, too large, or reaches outside; `disk-full`
 */
export async function unpackImage(
  image: ForeignImage,
  { layers, steps, maxLayerBytes }: Parts,
  { signal, say, events }: Request,
): Promise<{ readonly layers: LayerId[]; readonly config: ImageConfig }> {
  const made: LayerId[] = [];
  const each: (LayerId | null)[] = [];
  try {
    for (const { digest, file } of image.layers) {
      const { layer } = await steps.get(stepKey('oci', made, digest), 'use', signal, events, () =>
        layers.add(async ({ directory }) => {
          await using cleanup = layers.scope();
          const workspace = await layers.workspace(cleanup);
          const below = made.map((id) => layers.path(id));
          const edit = { kind: 'apply-tar', file, maxBytes: maxLayerBytes } as const;
          const notes = await layers.within(signal, (signal) =>
            editLayer({ workspace, layers: below, edit }, signal),
          );
          for (const note of notes) say(`Layer ${digest.slice(7, 19)}: ${note}.`);
          await rename(join(workspace, 'upper'), directory);
        }),
      );
      each.push(layer);
      if (layer !== null) made.push(layer);
    }
  } catch (error) {
    layers.unpin(made);
    throw error;
  }
  return { layers: made, config: withHistory(image, each) };
}

/** Steps that changed files are its layers, in order; those of an image that says otherwise stand for themselves. */
function withHistory({ config, history }: ForeignImage, layers: readonly (LayerId | null)[]): ImageConfig {
  const fits = history.filter(({ changedFiles }) => changedFiles).length === layers.length;
  let at = 0;
  const steps = fits
    ? history.map(({ text, atMs, changedFiles }) => ({
        ...{ text, atMs },
        layer: changedFiles ? (layers[at++] ?? null) : null,
      }))
    : layers.map((layer) => ({ text: '', atMs: 0, layer }));
  return steps.reduce(withStep, config);
}
