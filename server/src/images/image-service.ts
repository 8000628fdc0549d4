/** Images: definitions are built at most once, finished images are found again, layers that nobody needs are removed. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { FillMount, RuntimeChoice } from '../engines/engine.ts';
import { describeError, firstError } from '../errors/first-error.ts';
import { SkerryError, toSkerryError } from '../errors/skerry-error.ts';
import { type ImageId, type LayerId, type MemberId, newImageId, type TaskId } from '../ids.ts';
import { diskOf, type UsualDisk } from '../instances/disk-size.ts';
import type { InstanceService } from '../instances/instance-service.ts';
import { Ledger } from '../platform/ledger.ts';
import { Limiter } from '../platform/limiter.ts';
import { MachineRoom } from '../platform/machine-room.ts';
import { clip } from '../platform/text.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { VolumeMounts } from '../volumes/volume-mounts.ts';
import { accountOf, Bases } from './bases/bases.ts';
import { fetchUrl } from './bases/fetch-url.ts';
import { familiarName, parseReference } from './bases/reference.ts';
import { Registry } from './bases/registry.ts';
import { Builder } from './build/builder.ts';
import { BuildContext } from './build/context.ts';
import { StepRunner } from './build/run-step.ts';
import type { BuilderParts } from './build/stage-builder.ts';
import { BuildAborted, BuildTimedOut, StepCache, sorted, surroundingsKey } from './build/step-cache.ts';
import { type BuildLog, BuildLogs } from './build-log.ts';
import type { Dockerfile } from './dockerfile/instruction.ts';
import { parseDockerfile } from './dockerfile/parse.ts';
import { withLayers, withStep } from './history.ts';
import type {
  BuildEvent,
  BuildLogEntry,
  BuildResult,
  Image,
  ImageBuild,
  ImageDefinition,
  Images,
  MountContent,
  NewLayer,
  NewLayerOptions,
  PublishedImage,
  RegistryCredentials,
} from './image.ts';
import { ImageArchives } from './image-archives.ts';
import { ImageCache } from './image-cache.ts';
import { ImageCatalog } from './image-catalog.ts';
import { ImagePlaces } from './image-places.ts';
import { LayerStore } from './layer-store.ts';
import { type PackageSettings, packageSources } from './packages/sources.ts';
import type { ImageRecord, ImageRepository, ImageUseRepository } from './repositories.ts';
import { openDirectory, sealDirectory } from './sealed-layer.ts';
import { type LayerStack, MAX_SNAPSHOT_LAYERS, mergeSnapshots } from './snapshot-layers.ts';

/** RUN steps carried out at the same moment; more wait. */
const MAX_RUNNING_STEPS = 4;

export interface ImageServiceOptions {
  readonly repository: ImageRepository;
  readonly uses: ImageUseRepository;
  /** Keeps files of the build context where they are until the returned function is called. */
  readonly holdFiles: (files: readonly string[]) => () => void;
  /** Used for RUN steps only. */
  readonly instances: Pick<InstanceService, 'start' | 'destroy' | 'boundsDisk' | 'warm'>;
  /** For RUN steps as well. */
  readonly volumes: Pick<VolumeMounts, 'attach' | 'detach'>;
  /** Layers, logs and temporary files are below `<dataDir>/images`. */
  readonly dataDir: string;
  /** The program that merges layers. */
  readonly treesBinaryPath: string;
  /** What images may fill of the disk; of their own by default. */
  readonly room?: MachineRoom;
  readonly config: {
    readonly buildRuntime: RuntimeChoice;
    readonly buildDiskMiB: number;
    readonly buildMemoryMiB: number;
    readonly buildPids: number;
    readonly buildTimeoutMinutes: number;
    readonly debianMirror: string;
    readonly registryMirrors: readonly string[];
    readonly insecureRegistries: readonly string[];
    readonly privateRegistries: readonly string[];
    readonly registryTimeoutMs: number;
    readonly ecrEndpoint: string;
  } & PackageSettings &
    UsualDisk;
  /** Environment that points programs in RUN steps at the extra CA certificates; empty without any. */
  readonly caEnvironment: Readonly<Record<string, string>>;
  /** Of several servers one that does not lead: it builds nothing, and takes snapshots. */
  readonly member?: MemberId;
  /** @see LayerStoreOptions */
  readonly othersMs?: number;
  readonly logger: Logger;
  /** Is told of every build that is over. */
  readonly onBuilt?: (outcome: BuildResult['kind'], durationMs: number) => void;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
}

interface RunningBuild {
  readonly id: ImageId;
  readonly controller: AbortController;
  readonly done: Promise<BuildResult>;
  /** Resolves at the first thing that is not cached, or at the end. */
  readonly worked: Promise<void>;
}

export class ImageService implements Images {
  /** For collections. */
  readonly cache: ImageCache;
  /** For whoever looks after the machine, as are the archives. */
  readonly catalog: ImageCatalog;
  readonly archives: ImageArchives;
  readonly #store: ImageRepository;
  readonly #layers: LayerStore;
  readonly #instances: ImageServiceOptions['instances'];
  readonly #holdFiles: ImageServiceOptions['holdFiles'];
  readonly #treesBinaryPath: string;
  readonly #logs: BuildLogs;
  readonly #logger: Logger;
  readonly #onBuilt: ImageServiceOptions['onBuilt'];
  readonly #now: () => number;
  readonly #timeoutMinutes: number;
  readonly #bases: Bases;
  readonly #parts: BuilderParts;
  /** Builds under way, by what was asked for. */
  readonly #builds = new Map<string, RunningBuild>();
  /** How builds ended whose rows do not say so yet. */
  readonly #untold = new Map<ImageId, ImageRecord>();
  readonly #ledger: Ledger;
  readonly #closing = new AbortController();

  constructor(options: ImageServiceOptions) {
    const { config, clock, logger } = options;
    const directory = join(options.dataDir, 'images');
    this.#now = clock;
    this.#timeoutMinutes = config.buildTimeoutMinutes;
    this.#treesBinaryPath = options.treesBinaryPath;
    this.#logger = logger;
    this.#onBuilt = options.onBuilt;
    this.#ledger = new Ledger(logger);
    this.#store = options.repository;
    this.#instances = options.instances;
    this.#layers = new LayerStore({
      places: ImagePlaces.in(options.dataDir, options.member),
      ...{ store: this.#store, logger, now: clock, room: options.room ?? new MachineRoom(directory) },
      othersMs: options.othersMs ?? 0,
    });
    this.#holdFiles = options.holdFiles;
    this.cache = new ImageCache(options.uses, this.#layers, () => this.collectGarbage(), clock);
    this.#logs = new BuildLogs(join(directory, 'logs'), clock);
    if (!options.member) {
      this.#store.failUnfinished(
        'The server restarted during the build. Ask for the image again to build it.',
        clock(),
      );
    }
    const steps = new StepCache(this.#store, this.#layers, clock);
    const maxImageBytes = config.buildDiskMiB * 2 ** 20;
    const registry = new Registry({
      mirrors: config.registryMirrors,
      insecure: config.insecureRegistries,
      allowed: config.privateRegistries,
      maxImageBytes,
      room: this.#layers.room,
      timeoutMs: config.registryTimeoutMs,
      ecrEndpoint: config.ecrEndpoint,
      clock,
    });
    this.catalog = new ImageCatalog(this, this.#store, clock);
    this.archives = new ImageArchives({
      ...{ images: this, store: this.#store, layers: this.#layers, steps, registry },
      maxBytes: maxImageBytes,
      now: clock,
    });
    this.#bases = new Bases({
      store: this.#store,
      layers: this.#layers,
      steps,
      registry,
      maxLayerBytes: maxImageBytes,
      debianMirror: config.debianMirror,
      packages: packageSources(config, process.env),
      timeoutMs: config.registryTimeoutMs,
      clock,
    });
    this.#parts = {
      store: this.#store,
      layers: this.#layers,
      steps,
      bases: this.#bases,
      runner: new StepRunner({
        instances: options.instances,
        volumes: options.volumes,
        runtime: config.buildRuntime,
        disk: diskOf(config.buildDiskMiB, config),
        limits: { memoryMiB: config.buildMemoryMiB, pids: config.buildPids },
        layers: this.#layers,
        logger,
      }),
      limiter: new Limiter(MAX_RUNNING_STEPS),
      caEnvironment: options.caEnvironment,
      findNamed: (name) => this.#findNamed(name),
      getImage: (id) => this.getPlain(id),
      fetchUrl: (url, file, checksum, signal) =>
        fetchUrl(url, file, checksum, signal, {
          room: this.#layers.room,
          reach: registry.reach,
          maxBytes: maxImageBytes,
          timeoutMs: config.registryTimeoutMs,
        }),
      clock,
    };
  }

  async getOrBuild(
    definition: ImageDefinition,
  ): Promise<{ readonly id: ImageId; readonly result: BuildResult | undefined }> {
    const dockerfile = parseDockerfile(definition.dockerfileLines.join('\n'));
    using held = this.#hold(definition);
    const context = new BuildContext(definition.contextFiles);
    const key = await definitionKey(definition, context);
    this.#closing.signal.throwIfAborted();
    if (!definition.forceBuild && !definition.ignoreCache) {
      const known = this.#store.findReady(key);
      if (known?.layers.every((layer) => this.#layers.has(layer))) {
        this.#store.touch(known.id, this.#now());
        return { id: known.id, result: { kind: 'success' } };
      }
    }
    const slot = `${key}:${definition.forceBuild}:${definition.ignoreCache}`;
    let build = this.#builds.get(slot);
    if (!build) {
      build = this.#start(slot, key, definition, dockerfile, context);
      const kept = held.move();
      void build.done.then(() => kept.dispose());
    }
    // A build whose steps are all cached is over in milliseconds: then the answer is the result.
    const result = await Promise.race([build.done, build.worked.then(() => undefined)]);
    return { id: build.id, result };
  }

  /** Keeps what a definition is built from, images and files, until that is disposed of. */
  #hold({ baseImages, contextFiles }: ImageDefinition): DisposableStack {
    const layers = [...baseImages.values()].flatMap((id) => plain(this.use(id)).layers);
    const release = this.#holdFiles(
      contextFiles.flatMap(({ content }) => ('file' in content ? [content.file] : [])),
    );
    for (const layer of layers) this.#layers.pin(layer);
    const held = new DisposableStack();
    held.defer(release);
    held.defer(() => this.#layers.unpin(layers));
    return held;
  }

  #start(
    slot: string,
    key: string,
    definition: ImageDefinition,
    dockerfile: Dockerfile,
    context: BuildContext,
  ): RunningBuild {
    const id = newImageId();
    const controller = new AbortController();
    const worked = Promise.withResolvers<void>();
    const secrets = [...Object.values(definition.secretEnv), ...secretsOf(definition.registryCredentials)];
    const log = this.#logs.start(id, secrets);
    try {
      const base = dockerfile.stages.at(-1)?.from.image;
      const baseId = base === undefined ? undefined : definition.baseImages.get(base);
      this.#store.insertBuilding(id, definition.builderVersion, baseId, this.#now());
    } catch (error) {
      log.end();
      this.#logs.remove(id);
      throw error;
    }
    const work = async (): Promise<void> => {
      using _ = endedAfter(this.#timeoutMinutes, controller);
      const signal = AbortSignal.any([controller.signal, this.#closing.signal]);
      const run = { definition, dockerfile, context, log, signal, onMiss: worked.resolve };
      await new Builder(this.#parts, run).build(({ layers, config }) => {
        const image: Image = {
          id,
          layers,
          config,
          builderVersion: definition.builderVersion,
          createdAtMs: this.#now(),
        };
        this.#store.finish(image, definition.ignoreCache ? undefined : key, this.#now());
      });
    };
    const build = { id, controller, worked: worked.promise, done: this.#conclude(id, slot, log, work) };
    this.#builds.set(slot, build);
    return build;
  }

  /** Runs a build to its end and tells how it went: the log, and the store as soon as that takes it. Never rejects. */
  async #conclude(id: ImageId, slot: string, log: BuildLog, work: () => Promise<void>): Promise<BuildResult> {
    const started = performance.now();
    let result: BuildResult = { kind: 'success' };
    try {
      await Promise.resolve(); // so that the build is in the map before anything of it can end
      await work();
      log.say(`Successfully built ${id}`);
    } catch (error) {
      const failed = failedResult(error);
      result = { ...failed, message: log.redact(failed.message) };
      log.say(
        `${result.kind === 'failure' ? 'The build failed' : 'The build was cancelled'}: ${result.message}`,
      );
      this.#fail(id, result.kind === 'failure' ? 'failed' : 'cancelled', result.message);
      if (result.kind === 'failure') {
        this.#logger.warn({ image: id, reason: log.redact(describeError(error)) }, 'image.build.failed');
      }
    }
    this.#builds.delete(slot);
    log.end();
    const durationMs = Math.round(performance.now() - started);
    this.#logger.info({ image: id, outcome: result.kind, durationMs }, 'image.build');
    this.#onBuilt?.(result.kind, durationMs);
    return result;
  }

  /** The build is over for everybody, though the disk may be too full for its row. */
  #fail(id: ImageId, state: 'failed' | 'cancelled', message: string): void {
    const endedAtMs = this.#now();
    this.#untold.set(id, { state, id, message });
    this.#ledger.tell(
      `image ${id}`,
      () => this.#store.fail(id, state, message, endedAtMs),
      () => this.#untold.delete(id),
    );
  }

  /** Builds under way. */
  get building(): number {
    return this.#builds.size;
  }

  async *follow(id: ImageId, afterIndex: number, signal: AbortSignal): AsyncIterable<BuildEvent> {
    this.#record(id);
    for await (const entry of this.#logs.read(id, afterIndex, signal)) yield { kind: 'log', entry };
    const record = this.#record(id);
    switch (record.state) {
      case 'ready':
        return yield { kind: 'result', result: { kind: 'success' } };
      case 'failed':
        return yield { kind: 'result', result: { kind: 'failure', message: record.message } };
      case 'cancelled':
        return yield { kind: 'result', result: { kind: 'cancelled', message: record.message } };
      case 'building':
        throw new SkerryError('internal', `The log of image ${id} ended before its build.`);
      default:
        record satisfies never;
    }
  }

  builds(id: ImageId): readonly ImageBuild[] {
    this.#record(id);
    const builds: ImageBuild[] = [];
    let next = this.#store.build(id);
    for (; next; next = next.baseId && this.#store.build(next.baseId)) {
      if (this.#logs.has(next.id)) builds.unshift(next);
    }
    return builds;
  }

  buildLog(id: ImageId): readonly BuildLogEntry[] {
    this.#record(id);
    return this.#logs.soFar(id);
  }

  get(id: ImageId): Image {
    return finished(this.#record(id));
  }

  use(id: ImageId): Image {
    const image = this.get(id);
    this.#store.touch(id, this.#now());
    return image;
  }

  getPlain(id: ImageId): Image {
    return plain(this.get(id));
  }

  contentOf(id: ImageId, encryptionKey: Uint8Array | undefined): MountContent {
    const image = this.use(id);
    const [layer] = image.layers;
    if (!image.encrypted || layer === undefined) {
      if (encryptionKey) {
        throw new SkerryError(
          'invalid-argument',
          `Image ${id} is not encrypted. Mount it without an encryption key.`,
        );
      }
      return { layers: image.layers, needed: image.layers };
    }
    if (!encryptionKey) {
      throw new SkerryError(
        'invalid-argument',
        `Image ${id} is encrypted. Mount it with the encryption key of its snapshot.`,
      );
    }
    const fill: FillMount = (directory, signal) =>
      openDirectory(this.#layers.path(layer), encryptionKey, directory, signal);
    return { layers: [], fill, needed: image.layers };
  }

  getUsed(id: ImageId): Image {
    return finished(this.#store.getUsed(id) ?? this.#record(id));
  }

  layerDirectories(image: Image): readonly string[] {
    return image.layers.map((layer) => this.#layers.path(layer));
  }

  async addLayer(
    parent: Image,
    takeLayer: (layer: NewLayer) => Promise<void>,
    { ttlMs, encryptionKey, config = parent.config, key }: NewLayerOptions = {},
  ): Promise<Image> {
    if (encryptionKey && parent.layers.length > 0) {
      throw new SkerryError('invalid-argument', 'Only a snapshot of a directory can be encrypted.');
    }
    // What is below may be deleted while the layer is taken.
    const held: LayerId[] = [];
    const snapshots = parent.snapshots ?? 0;
    try {
      for (const layer of parent.layers) {
        if (!this.#layers.has(layer)) throw new SkerryError('not-found', `Image ${parent.id} was deleted.`);
        this.#layers.pin(layer);
        held.push(layer);
      }
      const layer = await this.#layers.add(async (made) => {
        await takeLayer(made);
        if (!encryptionKey) return;
        await this.#layers.within(this.#closing.signal, (signal) =>
          sealDirectory(made.directory, encryptionKey, signal),
        );
      });
      if (layer !== null) held.push(layer);
      let stack: LayerStack =
        layer === null
          ? { layers: parent.layers, snapshots }
          : { layers: [...parent.layers, layer], snapshots: snapshots + 1 };
      if (stack.snapshots > MAX_SNAPSHOT_LAYERS) {
        stack = await mergeSnapshots(stack, this.#layers, this.#treesBinaryPath, this.#closing.signal);
        held.push(...stack.layers.slice(-stack.snapshots));
      }
      const createdAtMs = this.#now();
      const snapshot = { text: 'snapshot', atMs: createdAtMs, layer: stack.layers.at(-1) ?? null };
      const image: Image = {
        id: newImageId(),
        ...stack,
        config: layer === null ? config : withStep(withLayers(config, stack.layers), snapshot),
        builderVersion: parent.builderVersion,
        createdAtMs,
        expiresAtMs: ttlMs === undefined ? undefined : createdAtMs + ttlMs,
        encrypted: encryptionKey !== undefined,
      };
      this.#store.insertReady(image, key);
      return image;
    } finally {
      this.#layers.unpin(held);
    }
  }

  findAdded(key: string): Image | undefined {
    const image = this.#store.findReady(key);
    if (image) this.#store.touch(image.id, this.#now());
    return image;
  }

  holdImage(task: TaskId, id: ImageId): void {
    this.#store.holdImage(task, id);
  }

  holdLayers(task: TaskId, layers: readonly LayerId[]): void {
    this.#store.holdLayers(task, layers);
  }

  async fromReference(reference: string, signal: AbortSignal): Promise<Image> {
    const say = (line: string) => this.#logger.info({ reference, line }, 'image.base');
    return this.#findNamed(reference) ?? this.fetch(reference, undefined, say, signal);
  }

  async fetch(
    reference: string,
    credentials: RegistryCredentials | undefined,
    say: (line: string) => void,
    signal: AbortSignal,
  ): Promise<Image> {
    const image = await this.#bases.resolve({
      ...{ reference, say },
      credentials: credentials && { registry: parseReference(reference).registry, credentials },
      signal: AbortSignal.any([signal, this.#closing.signal]),
      onOutput: () => {},
      onMiss: () => {},
    });
    this.#layers.unpin(image.layers);
    return image;
  }

  async delete(id: ImageId): Promise<void> {
    const record = this.#store.get(id);
    if (!record) throw new SkerryError('not-found', `No Image with ID ${clip(id)}.`);
    if (record.state === 'building') {
      const build = [...this.#builds.values()].find((each) => each.id === id);
      build?.controller.abort(new BuildAborted('The image was deleted during its build.'));
      await build?.done;
    }
    this.#store.markDeleted(id, this.#now());
    await this.collectGarbage();
  }

  publish(id: ImageId, name: string): void {
    this.get(id);
    this.#store.publish(withTag(name), id, this.#now());
  }

  unpublish(name: string): void {
    if (!this.#store.unpublish(withTag(name), this.#now())) throw nameNotFound(name);
  }

  names(prefix: string, after: string, limit: number): readonly PublishedImage[] {
    return this.#store.names(prefix, after, limit);
  }

  getByName(name: string): ImageId {
    const id = this.#store.getByName(withTag(name));
    if (id === undefined) throw nameNotFound(name);
    return id;
  }

  /** Forgets the images whose time is over. */
  async sweep(): Promise<void> {
    const expired = this.#store.expired(this.#now());
    if (expired.length === 0) return;
    for (const id of expired) this.#store.markDeleted(id, this.#now());
    this.#logger.info({ images: expired.length }, 'images.expired');
    await this.collectGarbage();
  }

  /** Removes deleted images that no sandbox runs on, their logs, and the layers that nothing refers to. Also called after each deletion. */
  async collectGarbage(): Promise<void> {
    for (const image of this.#store.purgeDeleted()) {
      try {
        this.#logs.remove(image);
      } catch (err) {
        this.#logger.error({ image, err }, 'images.log-not-removed');
      }
    }
    await this.#layers.collect((layers) => this.#instances.warm.forget(layers));
  }

  async close(): Promise<void> {
    this.#closing.abort(
      new BuildAborted('The server was stopped during the build. Ask for the image again to build it.'),
    );
    await Promise.all([...this.#builds.values()].map((build) => build.done));
    this.#ledger.close();
  }

  #record(id: ImageId): ImageRecord {
    const record = this.#store.get(id);
    if (!record || this.#isOver(record))
      throw new SkerryError('not-found', `Could not find image with ID ${clip(id)}.`);
    return this.#untold.get(id) ?? record;
  }

  /** Its time decides, not the sweep that comes later. */
  #isOver(record: ImageRecord): boolean {
    return record.state === 'ready' && (record.image.expiresAtMs ?? Infinity) <= this.#now();
  }

  #findNamed(name: string): Image | undefined {
    // As it was written, then as people call it: imported images have such names.
    const id = this.#store.getByName(withTag(name)) ?? this.#store.getByName(familiarName(name));
    const record = id && this.#store.get(id);
    return record?.state === 'ready' && !this.#isOver(record) ? plain(record.image) : undefined;
  }
}

function finished(record: ImageRecord): Image {
  if (record.state === 'ready') return record.image;
  const why = record.state === 'building' ? 'is still being built' : `was not built: ${record.message}`;
  throw new SkerryError('conflict', `Image ${record.id} ${why}`);
}

function plain(image: Image): Image {
  if (!image.encrypted) return image;
  throw new SkerryError(
    'invalid-argument',
    `Image ${image.id} is encrypted. It can only be mounted, with its encryption key.`,
  );
}

const nameNotFound = (name: string): SkerryError =>
  new SkerryError('not-found', `Image '${name.slice(0, 200)}' not found.`);

/** The name's tag is `latest` when it has none. */
function withTag(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1).includes(':') ? name : `${name}:latest`;
}

/** Everything a definition's result depends on, but for the values of secrets. */
async function definitionKey(definition: ImageDefinition, context: BuildContext): Promise<string> {
  const [secretNames, ...surroundings] = surroundingsKey(definition);
  const inputs = [
    definition.dockerfileLines.join('\n'),
    sorted(Object.fromEntries(definition.baseImages)),
    await context.fingerprint(),
    definition.standalonePython ?? null,
    sorted(definition.buildArgs),
    secretNames,
    definition.builderVersion,
    ...surroundings,
    // Who has none must not get what others fetched with theirs.
    ...(definition.registryCredentials ? [{ account: accountOf(definition.registryCredentials) }] : []),
  ];
  return createHash('sha256').update(JSON.stringify(inputs)).digest('hex');
}

/** Ends a build that is not over by then. */
function endedAfter(minutes: number, controller: AbortController): Disposable {
  const timer = setTimeout(
    () =>
      controller.abort(
        new BuildTimedOut(`the build took more than ${minutes} minutes (buildTimeoutMinutes)`),
      ),
    minutes * 60_000,
  );
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

function failedResult(thrown: unknown): Exclude<BuildResult, { kind: 'success' }> {
  const error = firstError(thrown);
  if (error instanceof BuildTimedOut) return { kind: 'failure', message: error.message };
  if (error instanceof BuildAborted) return { kind: 'cancelled', message: error.message };
  const known = toSkerryError(error);
  const next =
    known.code === 'image-build-failed' || known.code === 'invalid-argument'
      ? ''
      : `\n${known.kind.suggestion}`;
  return { kind: 'failure', message: `${known.message}${next}` };
}

function secretsOf(credentials: RegistryCredentials | undefined): readonly string[] {
  if (!credentials) return [];
  if (!('region' in credentials)) return [credentials.password];
  const { secretAccessKey, sessionToken } = credentials;
  return [secretAccessKey, ...(sessionToken === undefined ? [] : [sessionToken])];
}
