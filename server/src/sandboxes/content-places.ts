/** Where on this machine is what sandboxes are made of: layers of images, what builds show to their steps, and volumes. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { CheckpointRef, ContentPlaces, LayerRef, MountRef } from '../engines/references.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { isMemorySnapshotId } from '../ids.ts';
import type { ImagePlaces } from '../images/image-places.ts';

export class SandboxContent implements ContentPlaces {
  readonly #images: ImagePlaces;
  readonly #volumeDir: string;
  readonly #checkpointDir: string;

  /**
   * @param volumeDir where the working trees of volumes are seen, each under its id
   * @param checkpointDir where those of memory are, likewise
   */
  constructor(images: ImagePlaces, volumeDir: string, checkpointDir: string) {
    this.#checkpointDir = checkpointDir;
    this.#images = images;
    this.#volumeDir = volumeDir;
  }

  layer(ref: LayerRef): string {
    return this.#images.layer(ref);
  }

  newLayer(ref: LayerRef): string {
    return this.#images.newLayer(ref);
  }

  checkpoint(ref: CheckpointRef): string {
    return join(this.#checkpointDir, ref);
  }

  async checkpoints(): Promise<readonly CheckpointRef[]> {
    const names = await readdir(this.#checkpointDir).catch((): string[] => []);
    return names.filter(isMemorySnapshotId);
  }

  mount(ref: MountRef): string {
    if (ref.kind === 'scratch') return this.#images.mount(ref);
    const tree = join(this.#volumeDir, ref.tree);
    const path = join(tree, ref.path);
    if (path === tree || path.startsWith(`${tree}/`)) return path;
    throw new SkerryError('internal', `${JSON.stringify(ref.path)} is nothing in ${tree}.`);
  }
}
