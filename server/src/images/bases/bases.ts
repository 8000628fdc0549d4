/**
 * Where `FROM x` comes from: our own published names, a registry, or Debian's packages, in this order. What was found once stays until it is deleted:
 * a base never changes under its users by itself.
 */
import { createHash } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import { type LayerId, newImageId } from '../../ids.ts';
import type { ImageStore } from '../../store/images.ts';
import { type StepCache, type StepEvents, stepKey } from '../build/step-cache.ts';
import { emptyImageConfig, type Image, type ImageConfig, type RegistryCredentials } from '../image.ts';
import type { LayerStore } from '../layer-store.ts';
import { editLayer } from '../layers/edit-layer.ts';
import { bootstrapDebian } from './debian-bootstrap.ts';
import { type DebianBase, matchDebian } from './debian-suites.ts';
import { formatReference, parseReference, type Reference } from './reference.ts';
import type { PulledImage, Registry } from './registry.ts';

/** Says which bootstrap a base was made by. */
const BASE_LABEL = 'io.skerry.debian-base';

/** The build that asks: where progress goes. */
export interface BaseRequest {
  readonly reference: string;
  readonly credentials: RegistryCredentials | undefined;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
  readonly onOutput: (chunk: Uint8Array) => void;
  /** The base is not at hand: it will take time. */
  readonly onMiss: () => void;
}

interface Parts {
  readonly store: ImageStore;
  readonly layers: LayerStore;
  readonly steps: StepCache;
  readonly registry: Registry;
  readonly debianMirror: string;
  readonly timeoutMs: number;
  readonly clock: () => number;
}

export class Bases {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * The image of a reference. Its layers are pinned once for the caller.
   * @throws SkerryError `invalid-argument` for what is no reference, `image-build-failed` when no way gave the image, `disk-full`
   */
  async resolve(request: BaseRequest): Promise<Image> {
    const reference = parseReference(request.reference);
    const key = baseKey(reference, request.credentials);
    const known = this.#parts.store.findReady(key);
    if (known) {
      const match = matchDebian(reference);
      if (known.config.labels[BASE_LABEL] !== undefined && match.kind === 'base') {
        request.say(`Using Debian ${match.base.suite.name} from Debian's packages for ${request.reference}.`);
        for (const note of match.base.notes) request.say(note);
      }
      for (const layer of known.layers) this.#parts.layers.pin(layer);
      this.#parts.store.touch(known.id, this.#parts.clock());
      return known;
    }
    request.onMiss();
    const { layers, config } = await this.#fetch(reference, request);
    const image: Image = {
      id: newImageId(),
      layers,
      config,
      builderVersion: '',
      createdAtMs: this.#parts.clock(),
    };
    this.#parts.store.insertReady(image, key);
    return image;
  }

  async #fetch(
    reference: Reference,
    request: BaseRequest,
  ): Promise<{ layers: LayerId[]; config: ImageConfig }> {
    await using cleanup = this.#parts.layers.scope();
    const workspace = await this.#parts.layers.workspace(cleanup);
    request.say(`Looking for ${formatReference(reference)} ...`);
    const pulled = await this.#parts.registry.pull(reference, request.credentials, workspace, request.signal);
    if (pulled.kind === 'pulled') {
      request.say(`Fetched ${pulled.from}: ${pulled.image.layers.length} layers.`);
      return { layers: await this.#unpack(pulled.image, request), config: pulled.image.config };
    }
    for (const reason of pulled.reasons) request.say(`No image from ${reason}.`);
    const match = matchDebian(reference);
    if (match.kind === 'base') return this.#bootstrap(match.base, request);
    const why = match.kind === 'unavailable' ? ` And ${match.why}.` : '';
    throw new SkerryError(
      'image-build-failed',
      `There is no way to get ${request.reference}: ${pulled.reasons.join('; ')}.${why} To use another registry, set --registry-mirrors (or name it in FROM).`,
    );
  }

  async #unpack(image: PulledImage, request: BaseRequest): Promise<LayerId[]> {
    const layers: LayerId[] = [];
    for (const { digest, file } of image.layers) {
      const { layer } = await this.#parts.steps.get(
        stepKey('oci', layers, digest),
        'use',
        request.signal,
        events(request),
        () =>
          this.#parts.layers.add(async (directory) => {
            await using cleanup = this.#parts.layers.scope();
            const workspace = await this.#parts.layers.workspace(cleanup);
            const below = layers.map((id) => this.#parts.layers.path(id));
            const notes = await editLayer(
              { workspace, layers: below, edit: { kind: 'apply-tar', file } },
              request.signal,
            );
            for (const note of notes) request.say(`Layer ${digest.slice(7, 19)}: ${note}.`);
            await rename(join(workspace, 'upper'), directory);
          }),
      );
      if (layer !== null) layers.push(layer);
    }
    return layers;
  }

  async #bootstrap(
    base: DebianBase,
    request: BaseRequest,
  ): Promise<{ layers: LayerId[]; config: ImageConfig }> {
    request.say(`Making ${request.reference} from Debian's packages (${base.suite.name}).`);
    for (const note of base.notes) request.say(note);
    const { layer, cached } = await this.#parts.steps.get(
      stepKey(base.key, [], []),
      'use',
      request.signal,
      events(request),
      () => this.#makeDebian(base, request),
    );
    if (layer === null) throw new SkerryError('internal', `the bootstrap of ${base.key} made no files`);
    const made = this.#parts.store.findReady(base.key)?.config;
    if (cached) request.say('It was made before.');
    if (!made) throw new SkerryError('internal', `the base ${base.key} has lost its configuration`);
    return { layers: [layer], config: made };
  }

  /** Makes the layer and keeps the configuration beside it, under the base's own key: several references may mean it. */
  async #makeDebian(base: DebianBase, request: BaseRequest): Promise<LayerId | null> {
    let config = emptyImageConfig;
    const layer = await this.#parts.layers.add(async (directory) => {
      config = await bootstrapDebian(base, directory, {
        mirror: this.#parts.debianMirror,
        signal: request.signal,
        onOutput: request.onOutput,
        say: request.say,
        temporary: this.#parts.layers.temporary,
        timeoutMs: this.#parts.timeoutMs,
      });
    });
    const image: Image = {
      id: newImageId(),
      layers: layer === null ? [] : [layer],
      config: { ...config, labels: { ...config.labels, [BASE_LABEL]: base.key } },
      builderVersion: '',
      createdAtMs: this.#parts.clock(),
    };
    this.#parts.store.insertReady(image, base.key);
    return layer;
  }
}

const events = (request: BaseRequest): StepEvents => ({
  onMiss: request.onMiss,
  onJoin: () => request.say('Another build is making it; waiting for that.'),
});

/** A private image is only found again with the credentials that fetched it. */
function baseKey(reference: Reference, credentials: RegistryCredentials | undefined): string {
  const account =
    credentials &&
    createHash('sha256')
      .update(JSON.stringify([credentials.username, credentials.password]))
      .digest('hex')
      .slice(0, 16);
  return `base:${formatReference(reference)}${account === undefined ? '' : `#${account}`}`;
}
