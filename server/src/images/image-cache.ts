/** What of images is kept only so that it need not be made again: what a collection may take, and how it takes it. */
import type { LayerId } from '../ids.ts';
import type { LayerStore } from './layer-store.ts';
import type { ImageUseRepository, LayerUse } from './repositories.ts';

export class ImageCache {
  readonly #uses: ImageUseRepository;
  readonly #layers: LayerStore;
  readonly #collectGarbage: () => Promise<void>;
  readonly #now: () => number;

  constructor(
    uses: ImageUseRepository,
    layers: LayerStore,
    collectGarbage: () => Promise<void>,
    now: () => number,
  ) {
    this.#uses = uses;
    this.#layers = layers;
    this.#collectGarbage = collectGarbage;
    this.#now = now;
  }

  /** Every layer. What is not held may be dropped, in the same moment: later somebody may use it. */
  layers(): readonly LayerUse[] {
    return this.#uses
      .layerUses()
      .map((use) => (this.#layers.isPinned(use.id) ? { ...use, held: true } : use));
  }

  /**
   * Drops layers that are not held, and the images that have them. When this returns nobody finds any of it any more; `collectGarbage` removes the files.
   * @returns how many images
   */
  drop(layers: readonly LayerId[]): number {
    return layers.length === 0 ? 0 : this.#uses.forgetLayers(layers, this.#now());
  }

  /** Forgets what takes no room and was not used since. */
  dropEmpty(beforeMs: number): void {
    this.#uses.forgetEmpty(beforeMs, this.#now());
  }

  /** Removes the files of what nothing refers to any more. */
  collectGarbage(): Promise<void> {
    return this.#collectGarbage();
  }

  /** Images that are there for clients. */
  get images(): number {
    return this.#uses.count();
  }
}
