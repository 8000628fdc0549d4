/** What an image came out of, step by step: kept with its configuration, as in the OCI image specification (image-spec/config.md). */
import type { LayerId } from '../ids.ts';
import type { ImageConfig } from './image.ts';

/** One step that an image came out of. */
export interface HistoryStep {
  /** The instruction, or what else made it, without values of secrets; at most `MAX_TEXT` characters. */
  readonly text: string;
  /** When the image was given the step; when its files were made, its layer knows. */
  readonly atMs: number;
  /** `null` when it changed no file. */
  readonly layer: LayerId | null;
}

const MAX_TEXT = 1000;
/** The oldest steps are forgotten: each row of an image has its history. */
const MAX_STEPS = 256;

/** The configuration of an image that came out of one more step. */
export function withStep(config: ImageConfig, { text, atMs, layer }: HistoryStep): ImageConfig {
  const step = { text: text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT - 3)}...` : text, atMs, layer };
  return { ...config, history: [...(config.history ?? []), step].slice(-MAX_STEPS) };
}

/** The history of an image that has only these layers any more: steps whose layers others took the place of are gone. */
export function withLayers(config: ImageConfig, layers: readonly LayerId[]): ImageConfig {
  if (config.history === undefined) return config;
  return {
    ...config,
    history: config.history.filter(({ layer }) => layer === null || layers.includes(layer)),
  };
}
