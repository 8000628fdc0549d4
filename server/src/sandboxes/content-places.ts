/** Where on this machine is what sandboxes are made of: layers of images, what builds show to their steps, and volumes. */
import { join } from 'node:path';
import type { ContentPlaces, LayerRef, MountRef } from '../engines/references.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import type { ImagePlaces } from '../images/image-places.ts';

export class SandboxContent implements ContentPlaces {
  readonly #images: ImagePlaces;
  readonly #volumeDir: string;

  /** @param volumeDir where the working trees of volumes are seen, each under its id */
  constructor(images: ImagePlaces, volumeDir: string) {
    this.#images = images;
    this.#volumeDir = volumeDir;
  }

  layer(ref: LayerRef): string {
    return this.#images.layer(ref);
  }

  newLayer(ref: LayerRef): string {
    return this.#images.newLayer(ref);
  }

  mount(ref: MountRef): string {
    if (ref.kind === 'scratch') return this.#images.mount(ref);
    const tree = join(this.#volumeDir, ref.tree);
    const path = join(tree, ref.path);
    if (path === tree || path.startsWith(`${tree}/`)) return path;
    throw new SkerryError('internal', `${JSON.stringify(ref.path)} is nothing in ${tree}.`);
  }
}
