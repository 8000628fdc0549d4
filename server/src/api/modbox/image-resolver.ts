/** From what a caller calls an image to the image, without holding a request for as long as a download takes. */
import { SkerryError } from '../../errors/skerry-error.ts';
import type { ImageId } from '../../ids.ts';
import type { Image, Images } from '../../images/image.ts';
import { withDeadline } from '../../platform/wait.ts';
import type { DefaultImage } from './default-image.ts';

/** How long one request waits for an image that is being fetched or built; then it is told to come back. */
const PATIENCE_MS = 20_000;
/** Images being fetched at the same moment. */
const MAX_PENDING = 32;

export class ImageResolver {
  readonly #images: Images;
  readonly #defaultImage: DefaultImage;
  readonly #closing: AbortSignal;
  readonly #patienceMs: number;
  readonly #pending = new Map<string, Promise<Image>>();

  /** `closing` ends fetches under way. */
  constructor(parts: {
    images: Images;
    defaultImage: DefaultImage;
    closing: AbortSignal;
    patienceMs?: number;
  }) {
    this.#images = parts.images;
    this.#defaultImage = parts.defaultImage;
    this.#closing = parts.closing;
    this.#patienceMs = parts.patienceMs ?? PATIENCE_MS;
  }

  /**
   * `undefined` and '' (an unset variable in many a shell script) stand for the default image.
   * @throws SkerryError `not-found` and `conflict` for ids; `unavailable` while it is still being fetched or built; what `Images.fromReference` throws
   */
  async resolve(imageId: string | undefined, signal: AbortSignal): Promise<Image> {
    if (imageId?.startsWith('im-')) {
      // An id of ours is only looked up: what does not exist is `not-found`.
      return this.#images.get(imageId as ImageId);
    }
    const image = await withDeadline(this.#start(imageId ?? ''), this.#patienceMs, signal);
    if (image) return image;
    const what = imageId ? `The image ${imageId}` : 'The default image';
    throw new SkerryError('unavailable', `${what} is still being fetched or built; it goes on meanwhile.`, {
      details: { path: 'imageId' },
    });
  }

  #start(reference: string): Promise<Image> {
    if (reference === '') return this.#defaultImage.ensure();
    const pending = this.#pending.get(reference);
    if (pending) return pending;
    if (this.#pending.size >= MAX_PENDING) {
      throw new SkerryError('resource-exhausted', `${MAX_PENDING} images are being fetched already.`);
    }
    const image = this.#images
      .fromReference(reference, this.#closing)
      .finally(() => this.#pending.delete(reference));
    image.catch(() => {}); // whoever waits for it is told; nobody may be by the time it fails
    this.#pending.set(reference, image);
    return image;
  }
}
