/** Images to and from other machines: in files that Docker, Podman and skopeo read and write, and to registries. */
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { firstError } from '../errors/first-error.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { type ImageId, newImageId } from '../ids.ts';
import { withinRoom } from '../platform/room-watch.ts';
import { familiarName, familiarReference, parseReference } from './bases/reference.ts';
import type { Registry } from './bases/registry.ts';
import type { StepCache } from './build/step-cache.ts';
import type { Image, Images, RegistryCredentials } from './image.ts';
import type { LayerStore } from './layer-store.ts';
import type { ForeignImage } from './oci/layout.ts';
import { thisPlatform } from './oci/platform.ts';
import { readArchive } from './oci/read-archive.ts';
import { unpackImage } from './oci/unpack-image.ts';
import { packLayout, type WrittenImage, writeLayout } from './oci/write-archive.ts';
import type { ImageRepository } from './repositories.ts';

export interface ArchiveParts {
  readonly images: Pick<Images, 'getPlain' | 'publish'>;
  readonly store: ImageRepository;
  readonly layers: LayerStore;
  readonly steps: StepCache;
  readonly registry: Registry;
  /** What one archive may hold, and the files of one layer. */
  readonly maxBytes: number;
  readonly now: () => number;
}

export interface ImportedImage {
  readonly id: ImageId;
  readonly names: readonly string[];
}

type Say = (line: string) => void;

export class ImageArchives {
  readonly #parts: ArchiveParts;

  constructor(parts: ArchiveParts) {
    this.#parts = parts;
  }

  /**
   * Takes the images of an archive, which are kept until they are removed, under the names that the archive has for them.
   * @param name instead of these; the archive must hold one image
   * @throws SkerryError `image-build-failed` for what is no archive or cannot be trusted, `disk-full`; images that came before the one at fault stay
   */
  async import(
    archive: AsyncIterable<Uint8Array>,
    name: string | undefined,
    say: Say,
    signal: AbortSignal,
  ): Promise<readonly ImportedImage[]> {
    const { layers, maxBytes } = this.#parts;
    await using cleanup = layers.scope();
    const workspace = await layers.workspace(cleanup);
    const most = { directory: workspace, bytes: 2 * maxBytes, otherwise: () => tooLarge(maxBytes) };
    const found = await withinRoom({ room: layers.room, most, signal }, async (signal) => {
      const file = join(workspace, 'archive');
      await pipeline(bounded(archive, maxBytes), createWriteStream(file, { mode: 0o600 }), { signal });
      const files = join(workspace, 'files');
      await mkdir(files, { mode: 0o700 });
      const read = await readArchive(file, files, { maxBytes, architecture: thisPlatform, signal });
      await rm(file);
      return read;
    });
    if (name !== undefined && found.length !== 1) {
      const said = `The archive holds ${found.length} images, which have names of their own: import it without a name.`;
      throw new SkerryError('invalid-argument', said);
    }
    const imported: ImportedImage[] = [];
    for (const { names, image } of found) {
      const called = (name === undefined ? names : [name]).map(familiarName);
      say(`${called.join(', ') || 'An image without a name'}: ${image.layers.length} layers.`);
      imported.push({ id: await this.#take(image, called, say, signal), names: called });
    }
    return imported;
  }

  async #take(
    foreign: ForeignImage,
    names: readonly string[],
    say: Say,
    signal: AbortSignal,
  ): Promise<ImageId> {
    const { layers, steps, store, images, maxBytes, now } = this.#parts;
    const events = {
      onMiss: () => {},
      onJoin: () => say('A layer is being unpacked for somebody else; waiting for that.'),
    };
    const unpacked = await unpackImage(
      foreign,
      { layers, steps, maxLayerBytes: maxBytes },
      { signal, say, events },
    );
    try {
      const image: Image = { id: newImageId(), ...unpacked, builderVersion: '', createdAtMs: now() };
      store.insertReady(image, undefined);
      for (const name of names) images.publish(image.id, name);
      return image.id;
    } finally {
      layers.unpin(unpacked.layers);
    }
  }

  /**
   * The bytes of an archive of these images. What fails does so before the first of them.
   * @throws SkerryError as `Images.get`; `invalid-argument` for an encrypted one and for files that no archive can hold; `disk-full`
   */
  async *export(
    images: readonly { readonly id: ImageId; readonly names: readonly string[] }[],
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    await using cleanup = this.#parts.layers.scope();
    const workspace = await this.#parts.layers.workspace(cleanup);
    const file = join(workspace, 'archive');
    await this.#layout(images, workspace, signal, async (directory, signal) => {
      await packLayout(directory, file, signal);
      await rm(directory, { recursive: true });
    });
    yield* createReadStream(file, { highWaterMark: 1 << 20 });
  }

  /** @throws as `export`; what `Registry.push` throws */
  async push(
    id: ImageId,
    reference: string,
    credentials: RegistryCredentials | undefined,
    say: Say,
    signal: AbortSignal,
  ): Promise<void> {
    const { registry, layers } = this.#parts;
    const parsed = parseReference(reference);
    await using cleanup = layers.scope();
    const workspace = await layers.workspace(cleanup);
    say('Packing its layers ...');
    await this.#layout([{ id, names: [] }], workspace, signal, async (directory, signal) => {
      say('Sending them ...');
      await registry.push(directory, parsed, credentials, workspace, signal);
    });
  }

  /** Writes images into a directory of the workspace, and does something with it; their layers stay meanwhile. */
  async #layout(
    images: readonly { readonly id: ImageId; readonly names: readonly string[] }[],
    workspace: string,
    signal: AbortSignal,
    use: (directory: string, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const { layers } = this.#parts;
    const found = images.map(({ id, names }) => ({ image: this.#parts.images.getPlain(id), names }));
    const held = found.flatMap(({ image }) => image.layers);
    for (const layer of held) layers.pin(layer);
    try {
      const written = found.map(({ image, names }) => this.#written(image, names));
      await layers.within(signal, async (signal) => {
        const directory = join(workspace, 'layout');
        await mkdir(directory, { mode: 0o700 });
        await writeLayout(directory, written, signal);
        await use(directory, signal);
      });
    } catch (error) {
      if ((firstError(error) as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      throw new SkerryError('disk-full', 'The machine is out of disk space for the archive.', {
        cause: error,
      });
    } finally {
      layers.unpin(held);
    }
  }

  #written({ config, layers, createdAtMs }: Image, names: readonly string[]): WrittenImage {
    const steps = config.history ?? [];
    const changed = steps.flatMap(({ layer }) => (layer === null ? [] : [layer]));
    // Who reads it counts: a step that changed files must be there for every layer, and none besides.
    const fits = changed.length === layers.length && changed.every((layer, at) => layer === layers[at]);
    return {
      // Names that clients publish may have capital letters, which are in no name of a registry.
      names: names.map(familiarReference).filter((name) => name !== undefined),
      config,
      createdAtMs,
      architecture: thisPlatform,
      layers: layers.map((layer) => this.#parts.layers.path(layer)),
      history: fits
        ? steps.map(({ text, atMs, layer }) => ({ text, atMs, changedFiles: layer !== null }))
        : undefined,
    };
  }
}

async function* bounded(archive: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const piece of archive) {
    bytes += piece.length;
    if (bytes > maxBytes) throw tooLarge(maxBytes);
    yield piece;
  }
}

const tooLarge = (maxBytes: number): SkerryError =>
  new SkerryError('too-large', `The archive takes more than ${maxBytes / 2 ** 20} MiB (buildDiskMiB).`);
