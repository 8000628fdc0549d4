/** What an image is: layers and the configuration its processes start with. */
import type { FillMount } from '../engines/engine.ts';
import type { ImageId, LayerId, TaskId } from '../ids.ts';
import type { VolumeMountSpec } from '../volumes/volume-mount-specs.ts';
import type { HistoryStep } from './history.ts';
import type { StandalonePython } from './packages/standalone-python.ts';

/** The part of an image's configuration that Skerry uses, named as in the OCI image specification (image-spec/config.md). */
export interface ImageConfig {
  readonly env: Readonly<Record<string, string>>;
  /** Absolute; `/` when the image names none. */
  readonly workdir: string;
  /** `name|uid[:group|gid]`; empty is root. */
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** What RUN, CMD and ENTRYPOINT in shell form run under. */
  readonly shell: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** Those of TCP as numbers, others as `53/udp`. */
  readonly exposedPorts: readonly (number | string)[];
  /** What its program is told with that it must end, as STOPSIGNAL has it (`stop-signal.ts`). Absent: it is killed. */
  readonly stopSignal?: string;
  /** Instructions of a Dockerfile that a build which starts from the image carries out first. */
  readonly onBuild?: readonly string[];
  /** Directories that VOLUME names. For whoever runs the image elsewhere, as the two after it: sandboxes have volumes that they are created with. */
  readonly volumes?: readonly string[];
  readonly healthcheck?: Healthcheck;
  /** Who made it, in words. */
  readonly author?: string;
  /** What it came out of, first the oldest; not known of images that older versions of Skerry made. */
  readonly history?: readonly HistoryStep[];
}

/** How Docker finds out whether a program works. Times are in nanoseconds; what is absent is as Docker has it. */
export interface Healthcheck {
  /** `CMD` and an argument vector, `CMD-SHELL` and a text, or `NONE`. Empty: as in the image below. */
  readonly test: readonly string[];
  readonly intervalNs?: number;
  readonly timeoutNs?: number;
  readonly startPeriodNs?: number;
  readonly startIntervalNs?: number;
  readonly retries?: number;
}

export const emptyImageConfig: ImageConfig = {
  env: {},
  workdir: '/',
  user: '',
  entrypoint: [],
  cmd: [],
  shell: ['/bin/sh', '-c'],
  labels: {},
  exposedPorts: [],
};

export interface Image {
  readonly id: ImageId;
  /** Lowest first. Empty for `FROM scratch`. */
  readonly layers: readonly LayerId[];
  readonly config: ImageConfig;
  readonly builderVersion: string;
  readonly createdAtMs: number;
  /** From then on nobody finds it any more; sandboxes that run on it go on. Undefined: it stays until it is deleted. */
  readonly expiresAtMs?: number | undefined;
  /** Its one layer opens only with a key of the caller's (`sealed-layer.ts`): it can be mounted with that, and nothing else. */
  readonly encrypted?: boolean | undefined;
  /** How many of its layers, from the top, snapshots made. Undefined: none. */
  readonly snapshots?: number | undefined;
}

/** What of an image is mounted into a running sandbox. */
export interface MountContent {
  /** Lowest first. */
  readonly layers: readonly LayerId[];
  /** Writes what is to be seen into an empty directory of the mount's own. */
  readonly fill?: FillMount | undefined;
  /** What must stay until it is mounted. */
  readonly needed: readonly LayerId[];
}

/** What a snapshot is besides its files. */
export interface SnapshotOptions {
  /** How long it lives from its creation on; undefined: until it is deleted. */
  readonly ttlMs?: number | undefined;
  /** What it is encrypted with; kept nowhere. Only for what has no image below it. */
  readonly encryptionKey?: Uint8Array | undefined;
}

export interface NewLayerOptions extends SnapshotOptions {
  readonly config?: ImageConfig;
  /** For one that can be made again, and goes as cached images do: what it is found by. */
  readonly key?: string | undefined;
}

/** A layer that is being made. */
export interface NewLayer {
  /** How an engine is told of it. */
  readonly ref: LayerId;
  /** Where its files go; not there yet. */
  readonly directory: string;
}

/** A file of the build context. `path` is relative to the context root; a leading slash is dropped. */
export interface ContextFile {
  readonly path: string;
  /** Where the bytes are: inline, or a file of the blob store. */
  readonly content: { readonly bytes: Uint8Array } | { readonly file: string };
  /** Permission bits. */
  readonly mode: number;
}

export interface RegistryLogin {
  readonly username: string;
  readonly password: string;
}

/** What the password of a registry of AWS is had for. */
export interface AwsKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of a key that lasts some hours. */
  readonly sessionToken?: string;
  readonly region: string;
}

export type RegistryCredentials = RegistryLogin | AwsKey;

/** Credentials, and the one registry that is told them. */
export interface BoundCredentials {
  readonly registry: string;
  readonly credentials: RegistryCredentials;
}

/** A request to build: Dockerfile lines plus what they refer to. Validated by the caller (`api/`), never persisted as a whole. */
export interface ImageDefinition {
  /** Joined with newlines they are a Dockerfile; one instruction may span items. */
  readonly dockerfileLines: readonly string[];
  /** Names that FROM and COPY --from may use for images of ours. */
  readonly baseImages: ReadonlyMap<string, ImageId>;
  readonly contextFiles: readonly ContextFile[];
  /** A Python that the context has in its folder `python`, besides the files. */
  readonly standalonePython?: StandalonePython | undefined;
  readonly buildArgs: Readonly<Record<string, string>>;
  /** Environment of RUN steps only; never stored in the image, the cache key or a log. */
  readonly secretEnv: Readonly<Record<string, string>>;
  /** What of its values decides what is built, as a digest that tells nothing about them. Undefined: none does. */
  readonly secretFingerprint?: string | undefined;
  /** What every RUN step has mounted. */
  readonly volumes: readonly VolumeMountSpec[];
  /** For the registry that the first FROM names (`build/registry-credentials.ts`). */
  readonly registryCredentials: RegistryCredentials | undefined;
  readonly builderVersion: string;
  /** Build again and replace the cached result. */
  readonly forceBuild: boolean;
  /** Build again without replacing the cached result. */
  readonly ignoreCache: boolean;
}

/** All of a definition but what it says: a Dockerfile with nothing around it. */
export const plainDefinition: Omit<ImageDefinition, 'dockerfileLines' | 'builderVersion'> = {
  baseImages: new Map(),
  contextFiles: [],
  buildArgs: {},
  secretEnv: {},
  volumes: [],
  registryCredentials: undefined,
  forceBuild: false,
  ignoreCache: false,
};

/** How a build ended. A failure is cached for joiners of that image id but not for later requests of the same definition. */
export type BuildResult =
  | { readonly kind: 'success' }
  | { readonly kind: 'failure'; readonly message: string }
  | { readonly kind: 'cancelled'; readonly message: string };

export interface BuildLogEntry {
  /** 1, 2, 3, ... within one build: where a reader resumes. */
  readonly index: number;
  readonly timeMs: number;
  readonly stream: 'stdout' | 'stderr' | 'system';
  /** Valid UTF-8, at most 64 KiB, usually one or more whole lines. */
  readonly text: string;
}

/** When an image was built, and on which image. */
export interface ImageBuild {
  readonly id: ImageId;
  /** What its last stage starts from, where that is an image that somebody built here and not the name of a base. */
  readonly baseId: ImageId | undefined;
  readonly startedAtMs: number;
  /** Undefined while it is under way. */
  readonly endedAtMs: number | undefined;
}

/** What a build's follower sees: log entries in order, then the result, which is the last. */
export type BuildEvent =
  | { readonly kind: 'log'; readonly entry: BuildLogEntry }
  | { readonly kind: 'result'; readonly result: BuildResult };

/** A name that an image is published under. */
export interface PublishedImage {
  readonly name: string;
  readonly imageId: ImageId;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** Where image ids and their layers come from. Implemented by `image-service.ts`. */
export interface Images {
  /**
   * The image of a definition: finished (`result` set) when every step is cached, else being built in the background. Equal definitions asked for
   * at the same time share one build and one id.
   * @throws SkerryError `invalid-argument` for what cannot be parsed, `not-found` for an unknown base image id.
   */
  getOrBuild(
    definition: ImageDefinition,
  ): Promise<{ readonly id: ImageId; readonly result: BuildResult | undefined }>;
  /** Follows a build from after entry `afterIndex` (0 = the start) until its result or the abort. @throws SkerryError `not-found` */
  follow(id: ImageId, afterIndex: number, signal: AbortSignal): AsyncIterable<BuildEvent>;
  /**
   * The builds that an image came out of, its own last, each after the one of the image that it was built on. Images that nobody built (bases, snapshots) have none, and
   * what was built before one that is deleted by now is not found any more. @throws SkerryError `not-found`
   */
  builds(id: ImageId): readonly ImageBuild[];
  /** What a build has logged so far, in order; nothing of an image that nobody built. @throws SkerryError `not-found` */
  buildLog(id: ImageId): readonly BuildLogEntry[];
  /** A finished image. @throws SkerryError `not-found`; `conflict` while it is being built or when its build failed */
  get(id: ImageId): Image;
  /** Likewise, for a client that has only the id: that it asks counts as a use. */
  use(id: ImageId): Image;
  /** Like `get`, of an image to run on or to build on. @throws as `get`; SkerryError `invalid-argument` for an encrypted one */
  getPlain(id: ImageId): Image;
  /** What to mount of an image, with the key that it was encrypted with. @throws as `get`; SkerryError `invalid-argument` for a key that is missing or of no use */
  contentOf(id: ImageId, encryptionKey: Uint8Array | undefined): MountContent;
  /** Like `get`, but of an image that a sandbox runs on, which is kept until that ends though it was deleted meanwhile. */
  getUsed(id: ImageId): Image;
  /** Absolute directories of an image's layers, lowest first. */
  layerDirectories(image: Image): readonly string[];
  /** Makes an image out of a frozen writable layer on top of `parent` (snapshots use it; a build step is the same operation). */
  addLayer(
    parent: Image,
    takeLayer: (layer: NewLayer) => Promise<void>,
    options?: NewLayerOptions,
  ): Promise<Image>;
  /** What was added last with that key and has not gone since; that it is asked for counts as a use. */
  findAdded(key: string): Image | undefined;
  /** Keeps the image for as long as the task has not ended: it runs on that one, which its sandbox does not name. */
  holdImage(task: TaskId, id: ImageId): void;
  /** Keeps these layers, and none that it was told before, for as long as the task has not ended: they are mounted in it. */
  holdLayers(task: TaskId, layers: readonly LayerId[]): void;
  /** Finds a published name or pulls/bootstraps a reference such as `python:3.12-slim`; used where no Dockerfile is given (REST `imageId`). */
  fromReference(reference: string, signal: AbortSignal): Promise<Image>;
  /** The base that a reference means to a registry, whatever is published under that name here; fetched unless it is there. `say` is told how it goes. */
  fetch(
    reference: string,
    credentials: RegistryCredentials | undefined,
    say: (line: string) => void,
    signal: AbortSignal,
  ): Promise<Image>;
  /** @throws SkerryError `not-found` */
  delete(id: ImageId): Promise<void>;
  publish(id: ImageId, name: string): void;
  /** Forgets a published name, not its image. @throws SkerryError `not-found` */
  unpublish(name: string): void;
  /** Published names that start with `prefix`, in order, after the name `after` ('' is the start). */
  names(prefix: string, after: string, limit: number): readonly PublishedImage[];
  /** The image a published `name[:tag]` points to. @throws SkerryError `not-found` */
  getByName(name: string): ImageId;
  /** Stops builds under way; they end as `cancelled`. */
  close(): Promise<void>;
}
