/**
 * Where `FROM x` comes from: our own published names, a registry, or packages that stand in for the image, in this order. What was found once stays for
 * as long as somebody uses it (`storage/`): a base never changes under its users.
 */
import { createHash } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import { type LayerId, newImageId } from '../../ids.ts';
import { type StepCache, type StepEvents, stepKey } from '../build/step-cache.ts';
import { withStep } from '../history.ts';
import {
  type BoundCredentials,
  emptyImageConfig,
  type Image,
  type ImageConfig,
  type RegistryCredentials,
} from '../image.ts';
import type { LayerStore } from '../layer-store.ts';
import { editLayer } from '../layers/edit-layer.ts';
import { unpackImage } from '../oci/unpack-image.ts';
import { Fetcher, type PackagedLayer, thisArchitecture } from '../packages/packaged-layer.ts';
import { pythonLinks } from '../packages/python.ts';
import type { PackageSources } from '../packages/sources.ts';
import { type StandalonePython, standaloneCpython } from '../packages/standalone-python.ts';
import type { ImageRepository } from '../repositories.ts';
import { bootstrapDebian } from './debian-bootstrap.ts';
import type { DebianBase } from './debian-suites.ts';
import { formatReference, parseReference, type Reference } from './reference.ts';
import type { Registry } from './registry.ts';
import { matchStandIn, type StandIn } from './stand-ins.ts';

/** Says what a base was made of, as lines of the build log. */
const STAND_IN_LABEL = 'io.skerry.stand-in';

/** What the keys of bases begin with; those of other definitions are digests. */
const BASE_KEY = 'base:';

/** How long a package registry may send nothing: a Go proxy makes what nobody asked for before. */
const PACKAGE_SILENCE_MS = 60_000;

/** The build that asks: where progress goes. */
export interface BaseRequest {
  readonly reference: string;
  readonly credentials: BoundCredentials | undefined;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
  readonly onOutput: (chunk: Uint8Array) => void;
  /** The base is not at hand: it will take time. */
  readonly onMiss: () => void;
}

interface Parts {
  readonly store: ImageRepository;
  readonly layers: LayerStore;
  readonly steps: StepCache;
  readonly registry: Registry;
  /** What the files of one layer of a registry may hold. */
  readonly maxLayerBytes: number;
  readonly debianMirror: string;
  readonly packages: PackageSources;
  /** How long a mirror may take to answer. */
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
    const key = baseKey(reference, toldTo(reference, request.credentials));
    const known = this.#parts.store.findReady(key);
    if (known) {
      for (const line of known.config.labels[STAND_IN_LABEL]?.split('\n') ?? []) request.say(line);
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
    try {
      this.#parts.store.insertReady(image, key);
    } catch (error) {
      this.#parts.layers.unpin(layers); // the caller does not get them
      throw error;
    }
    return image;
  }

  async #fetch(
    reference: Reference,
    request: BaseRequest,
  ): Promise<{ layers: LayerId[]; config: ImageConfig }> {
    await using cleanup = this.#parts.layers.scope();
    const workspace = await this.#parts.layers.workspace(cleanup);
    request.say(`Looking for ${formatReference(reference)} ...`);
    const { credentials, signal } = request;
    const told = toldTo(reference, credentials);
    const pulled = await this.#parts.registry.pull(reference, told, workspace, signal);
    if (pulled.kind === 'pulled') {
      request.say(`Fetched ${pulled.from}: ${pulled.image.layers.length} layers.`);
      return await unpackImage(pulled.image, this.#parts, { ...request, events: events(request) });
    }
    for (const reason of pulled.reasons) request.say(`No image from ${reason}.`);
    const match = matchStandIn(reference, thisArchitecture());
    if (match.kind === 'stand-in') return await this.#standIn(match, request);
    const why = match.kind === 'unavailable' ? ` And ${match.why}.` : '';
    const untold =
      credentials && !told
        ? ` The registry secret is for ${credentials.registry}, which the first FROM names, and ${reference.registry} is not told it.`
        : '';
    const name = request.reference;
    const before =
      pulled.denied && !told
        ? ` Where it wants a login, fetch the image first, on the server's machine: \`skerry image pull ${name} --username NAME --password-stdin --tag ${name}\`; then it is found under this name.`
        : '';
    throw new SkerryError(
      'image-build-failed',
      `There is no way to get ${request.reference}: ${pulled.reasons.join('; ')}.${untold}${before}${why} To use another registry, set --registry-mirrors (or name it in FROM).`,
    );
  }

  /** Lets go of the layers that `work` collected when it fails; each is pinned once. */
  async #holding<T>(work: (layers: LayerId[]) => Promise<T>): Promise<T> {
    const layers: LayerId[] = [];
    try {
      return await work(layers);
    } catch (error) {
      this.#parts.layers.unpin(layers);
      throw error;
    }
  }

  async #standIn(
    { debian, parts, config, notes }: StandIn,
    request: BaseRequest,
  ): Promise<{ layers: LayerId[]; config: ImageConfig }> {
    return this.#holding(async (layers) => {
      const base = debian ? await this.#bootstrap(debian, request, layers) : emptyImageConfig;
      const env = { ...base.env, ...config.env };
      const used = debian ? [`Debian ${debian.suite.name} (Debian's packages)`] : [];
      const made = used.map((text) => ({ text, layer: layers.at(-1) ?? null }));
      const options = { signal: request.signal, say: request.say, timeoutMs: PACKAGE_SILENCE_MS };
      for (const part of parts) {
        const found = await part(this.#parts.packages, options);
        const layer = await this.#packaged(found.layer, request);
        if (layer !== null) layers.push(layer);
        Object.assign(env, found.env);
        used.push(found.layer.what);
        made.push({ text: found.layer.what, layer });
      }
      const lines = [`${request.reference} is made of: ${used.join('; ')}.`, ...notes];
      for (const line of lines) request.say(line);
      const labels = { ...base.labels, ...config.labels, [STAND_IN_LABEL]: lines.join('\n') };
      const atMs = this.#parts.clock();
      const steps = made.map((step) => ({ ...step, atMs }));
      return { layers, config: steps.reduce(withStep, { ...base, ...config, env, labels }) };
    });
  }

  /**
   * The layers of a Python for any base, in /usr/local. They are pinned once for the caller.
   * @throws SkerryError `not-found` when there is none, `image-build-failed` when it cannot be fetched, `disk-full`
   */
  async standalonePython(wanted: StandalonePython, request: BaseRequest): Promise<readonly LayerId[]> {
    const python = standaloneCpython(wanted);
    request.say(`${request.reference} is ${python.layer.what}.`);
    if (wanted.version !== python.version)
      request.say(`The client asks for Python ${wanted.version}; ${python.version} is used.`);
    if (python.limits !== undefined) request.say(python.limits);
    return this.#holding(async (layers) => {
      for (const packaged of wanted.namesPython ? [python.layer, pythonLinks] : [python.layer]) {
        const layer = await this.#packaged(packaged, request);
        if (layer !== null) layers.push(layer);
      }
      return layers;
    });
  }

  async #packaged(packaged: PackagedLayer, request: BaseRequest): Promise<LayerId | null> {
    const { packages, layers } = this.#parts;
    const make = () =>
      layers.add(async ({ directory }) => {
        request.say(`Making ${packaged.what} ...`);
        await using cleanup = this.#parts.layers.scope();
        const workspace = await layers.workspace(cleanup);
        await layers.within(request.signal, async (signal) => {
          const { say } = request;
          const edit = await packaged.prepare(
            new Fetcher(packages, workspace, { signal, say, timeoutMs: PACKAGE_SILENCE_MS }),
          );
          await editLayer({ workspace, layers: [], edit }, signal);
        });
        await rename(join(workspace, 'upper'), directory);
      });
    const key = stepKey('packaged', [], packaged.key);
    return (await this.#parts.steps.get(key, 'use', request.signal, events(request), make)).layer;
  }

  /** The configuration of Debian, whose layer goes to `layers`; several references may share them. */
  async #bootstrap(base: DebianBase, request: BaseRequest, layers: LayerId[]): Promise<ImageConfig> {
    const { layer, cached } = await this.#parts.steps.get(
      stepKey(base.key, [], []),
      'use',
      request.signal,
      events(request),
      () => this.#makeDebian(base, request),
    );
    if (layer === null) throw new SkerryError('internal', `the bootstrap of ${base.key} made no files`);
    layers.push(layer);
    const made = this.#parts.store.findReady(base.key)?.config;
    if (cached) request.say(`Debian ${base.suite.name} was made before.`);
    if (!made) throw new SkerryError('internal', `the base ${base.key} has lost its configuration`);
    return made;
  }

  /** Makes the layer and keeps the configuration beside it, under the base's own key: several references may mean it. */
  async #makeDebian(base: DebianBase, request: BaseRequest): Promise<LayerId | null> {
    let config = emptyImageConfig;
    request.say(`Making Debian ${base.suite.name} from Debian's packages ...`);
    const { layers, debianMirror: mirror, timeoutMs } = this.#parts;
    const { onOutput, say } = request;
    const layer = await layers.add(async ({ directory }) => {
      config = await layers.within(request.signal, (signal) =>
        bootstrapDebian(base, directory, {
          ...{ mirror, signal, onOutput, say, timeoutMs },
          temporary: layers.temporary,
        }),
      );
    });
    const image: Image = {
      id: newImageId(),
      layers: layer === null ? [] : [layer],
      config,
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

/** The text of a Dockerfile names registries as it likes: one that the credentials are not for gets none. */
const toldTo = (
  { registry }: Reference,
  bound: BoundCredentials | undefined,
): RegistryCredentials | undefined => (bound?.registry === registry ? bound.credentials : undefined);

/** A private image is only found again with the credentials that fetched it. */
function baseKey(reference: Reference, credentials: RegistryCredentials | undefined): string {
  const account = accountOf(credentials);
  return `${BASE_KEY}${formatReference(reference)}${account === undefined ? '' : `#${account}`}`;
}

/** What tells credentials apart; undefined without any. */
export const accountOf = (credentials: RegistryCredentials | undefined): string | undefined =>
  credentials &&
  createHash('sha256')
    .update(JSON.stringify(identifying(credentials)))
    .digest('hex')
    .slice(0, 16);

/** A key of AWS is another one each time that it lasts only for hours. */
const identifying = (credentials: RegistryCredentials): readonly string[] =>
  'region' in credentials
    ? ['aws', credentials.accessKeyId, credentials.secretAccessKey, credentials.region]
    : [credentials.username, credentials.password];

/** The reference that a key of `baseKey` is of; undefined for keys of anything else. */
export const referenceOfKey = (key: string): string | undefined =>
  key.startsWith(BASE_KEY) ? key.slice(BASE_KEY.length).replace(/#.*$/, '') : undefined;
