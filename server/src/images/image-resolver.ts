/** From what a caller calls an image to the image, without holding a call for as long as a download takes. */
import { SkerryError } from '../errors/skerry-error.ts';
import type { ImageId } from '../ids.ts';
import { withDeadline } from '../platform/wait.ts';
import type { DefaultImage } from './default-image.ts';
import type { Image, Images } from './image.ts';

/** How long one call waits for an image that is being fetched or built; then it is told to come back. */
const PATIENCE_MS = 20_000;
/** Images being fetched at the same moment. */
const MAX_PENDING = 32;

interface Fetch {
  readonly image: Promise<Image>;
  /** It failed, and nobody was told yet. */
  failed: boolean;
}

export class ImageResolver {
  readonly #images: Images;
  readonly #defaultImage: DefaultImage;
  readonly #patienceMs: number;
  /** By reference, '' for the default image: under way, or failed while nobody waited. */
  readonly #fetches = new Map<string, Fetch>();

  constructor(parts: { images: Images; defaultImage: DefaultImage; patienceMs?: number }) {
    this.#images = parts.images;
    this.#defaultImage = parts.defaultImage;
    this.#patienceMs = parts.patienceMs ?? PATIENCE_MS;
  }

  /**
   * `undefined` and '' (an unset variable in many a shell script) stand for the default image. A caller who comes back is told how it went, also that it
   * failed; the next one after that tries again.
   * @throws SkerryError `not-found` and `conflict` for ids; `unavailable` while it is still being fetched or built; what `Images.fromReference` throws
   */
  async resolve(imageId: string | undefined, signal: AbortSignal): Promise<Image> {
    if (imageId?.startsWith('im-')) {
      // An id of ours is only looked up: what does not exist is `not-found`.
      return this.#images.get(imageId as ImageId);
    }
    const reference = imageId ?? '';
    const fetch = this.#fetches.get(reference) ?? this.#start(reference);
    try {
      const image = await withDeadline(fetch.image, this.#patienceMs, signal);
      if (image) return image;
    } catch (error) {
      if (fetch.failed && this.#fetches.get(reference) === fetch) this.#fetches.delete(reference);
      throw error;
    }
    const what = imageId ? `The image ${imageId}` : 'The default image';
    throw new SkerryError('unavailable', `${what} is still being fetched or built; it goes on meanwhile.`, {
      details: { path: 'imageId' },
    });
  }

  #start(reference: string): Fetch {
    this.#makeRoom();
    const image =
      reference === ''
        ? this.#defaultImage.ensure()
        : // It goes on for whoever comes back; the service ends it when it closes.
          this.#images.fromReference(reference, new AbortController().signal);
    const fetch: Fetch = { image, failed: false };
    this.#fetches.set(reference, fetch);
    image.then(
      () => this.#fetches.delete(reference),
      () => {
        fetch.failed = true;
      },
    );
    return fetch;
  }

  /** Failures that nobody asked for again make room. @throws SkerryError `resource-exhausted` */
  #makeRoom(): void {
    for (const [reference, { failed }] of this.#fetches) {
      if (this.#fetches.size < MAX_PENDING) return;
      if (failed) this.#fetches.delete(reference);
    }
    if (this.#fetches.size < MAX_PENDING) return;
    throw new SkerryError('resource-exhausted', `${MAX_PENDING} images are being fetched already.`);
  }
}
