/** What images there are and what they came out of, for whoever looks after the machine. */
import type { ImageId } from '../ids.ts';
import { referenceOfKey } from './bases/bases.ts';
import { familiarName } from './bases/reference.ts';
import type { Images } from './image.ts';
import type { ImageRepository, ListedImage } from './repositories.ts';

export interface CatalogEntry extends Omit<ListedImage, 'definitionKey'> {
  /** What a base was asked for by, such as `python:3.12-slim`. */
  readonly base: string | undefined;
}

/** A step of an image, first the oldest. */
export interface CatalogStep {
  readonly text: string;
  /** When its files were made, or when it was first taken into an image; 0 where nobody knows. */
  readonly atMs: number;
  /** Undefined when it changed no file. */
  readonly bytes: number | undefined;
}

/** As many as one answer has. */
const MAX_LISTED = 10_000;

export class ImageCatalog {
  readonly #images: Pick<Images, 'get'>;
  readonly #store: Pick<ImageRepository, 'list' | 'getLayer'>;
  readonly #now: () => number;

  constructor(
    images: Pick<Images, 'get'>,
    store: Pick<ImageRepository, 'list' | 'getLayer'>,
    now: () => number,
  ) {
    this.#images = images;
    this.#store = store;
    this.#now = now;
  }

  /** The newest first. */
  list(): readonly CatalogEntry[] {
    return this.#store.list(this.#now(), MAX_LISTED).map(({ definitionKey, ...image }) => {
      const reference = definitionKey && referenceOfKey(definitionKey);
      return { ...image, base: reference && familiarName(reference) };
    });
  }

  /** Of an image that an older version of Skerry made: its layers alone. @throws SkerryError `not-found`, `conflict` as `Images.get` */
  history(id: ImageId): readonly CatalogStep[] {
    const { config, layers } = this.#images.get(id);
    const steps = config.history ?? layers.map((layer) => ({ text: '', atMs: 0, layer }));
    return steps.map(({ text, atMs, layer }) => {
      const made = layer === null ? undefined : this.#store.getLayer(layer);
      return {
        text,
        atMs: atMs || (made?.madeAtMs ?? 0),
        bytes: layer === null ? undefined : (made?.bytes ?? 0),
      };
    });
  }
}
