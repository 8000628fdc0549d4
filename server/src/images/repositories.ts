/** The rows that images, their layers, cached steps and published names are kept in. `store/images.ts` implements this; files are `layer-store.ts`'s. */
import type { ImageId, LayerId, TaskId } from '../ids.ts';
import type { Image, ImageBuild, PublishedImage } from './image.ts';

/** What is known of an image. `cancelled` and `failed` differ only in whose doing it was. */
export type ImageRecord =
  | { readonly state: 'building'; readonly id: ImageId }
  | { readonly state: 'ready'; readonly id: ImageId; readonly image: Image }
  | { readonly state: 'failed' | 'cancelled'; readonly id: ImageId; readonly message: string };

/** An image as a list has it. */
export interface ListedImage {
  readonly id: ImageId;
  readonly state: ImageRecord['state'];
  readonly names: readonly string[];
  /** What it is found again by when it is asked for; undefined where nothing but its id and its names finds it. */
  readonly definitionKey: string | undefined;
  readonly layers: number;
  /** Of all its layers, others' included. */
  readonly bytes: number;
  readonly createdAtMs: number;
  readonly lastUsedAtMs: number | undefined;
}

export interface ImageRepository {
  /** @param baseId what it is built on, as `ImageBuild` has it */
  insertBuilding(id: ImageId, builderVersion: string, baseId: ImageId | undefined, nowMs: number): void;
  /** Adds an image that is finished from the start: a base or another one that can be made again, or without a `definitionKey` a snapshot, which cannot. */
  insertReady(image: Image, definitionKey: string | undefined): void;
  /** Marks an image as built. With a `definitionKey` it becomes what that definition gives from now on, instead of any earlier image. */
  finish(image: Image, definitionKey: string | undefined, nowMs: number): void;
  fail(id: ImageId, state: 'failed' | 'cancelled', message: string, nowMs: number): void;
  /** Ends every build that an earlier run of the server left unfinished. */
  failUnfinished(message: string, nowMs: number): void;
  get(id: ImageId): ImageRecord | undefined;
  /** Of what was added as finished too: its build began and ended then. */
  build(id: ImageId): ImageBuild | undefined;
  /** Also one that was deleted and not purged yet. */
  getUsed(id: ImageId): ImageRecord | undefined;
  /** The finished image of a definition. */
  findReady(definitionKey: string): Image | undefined;
  touch(id: ImageId, nowMs: number): void;
  /** Images whose time is not over, the newest first. */
  list(nowMs: number, limit: number): readonly ListedImage[];
  /** Images whose time is over and that nobody deleted. */
  expired(nowMs: number): ImageId[];
  /** Forgets an image, its names and the cached steps that only it used. Its layers stay until `purgeDeleted`. */
  markDeleted(id: ImageId, nowMs: number): void;
  /** Removes deleted images that no living sandbox runs on. @returns their ids */
  purgeDeleted(): ImageId[];

  insertLayer(id: LayerId, sizeBytes: number, nowMs: number): void;
  hasLayer(id: LayerId): boolean;
  getLayer(id: LayerId): { readonly bytes: number; readonly madeAtMs: number } | undefined;
  deleteLayer(id: LayerId): void;
  /** @param beforeMs those that were made before; all by default */
  allLayers(beforeMs?: number): LayerId[];
  /** What a task runs on, where that is another image than its sandbox's row names. */
  holdImage(task: TaskId, id: ImageId): void;
  /** What is mounted in a task, instead of what was before. */
  holdLayers(task: TaskId, layers: readonly LayerId[]): void;
  /** Layers that an image, deleted ones included, a cached step or a task that has not ended needs. */
  referencedLayers(): ReadonlySet<LayerId>;

  /** The cached result of a step: its layer, `null` when it changed no file, undefined when it is not cached. */
  getStep(key: string): LayerId | null | undefined;
  /** It was used. */
  touchStep(key: string, nowMs: number): void;
  putStep(key: string, layer: LayerId | null, nowMs: number): void;

  /** Makes the name point to the image, whatever it pointed to before, which counts as used now. */
  publish(name: string, id: ImageId, nowMs: number): void;
  getByName(name: string): ImageId | undefined;
  /** Names that start with `prefix`, in order, after the name `after` ('' is the start). */
  names(prefix: string, after: string, limit: number): readonly PublishedImage[];
  /** Forgets a name, not its image, which counts as used now. False when there was none. */
  unpublish(name: string, nowMs: number): boolean;
}

/** A layer, and who has it. */
export interface LayerUse {
  readonly id: LayerId;
  readonly bytes: number;
  /** Of whatever has it. */
  readonly lastUsedMs: number;
  /** Somebody uses it, or could not have it made again: it must stay. */
  readonly held: boolean;
  /** How many are below it. */
  readonly depth: number;
}

/** What a collection asks of images and what it does to them. `store/image-uses.ts` implements this. */
export interface ImageUseRepository {
  /**
   * Every layer with what images and cached steps have it. Held is what a snapshot, a published name, a build under way or a task that has not ended needs. An image on which a
   * sandbox ran was used until that ended.
   */
  layerUses(): readonly LayerUse[];
  /** Marks the images that have one of these layers as deleted and forgets the steps that gave one. None of the layers may be held. @returns how many images */
  forgetLayers(ids: readonly LayerId[], nowMs: number): number;
  /** The same for what has no layer and was not used since: failed builds, empty images, steps that changed no file. */
  forgetEmpty(beforeMs: number, nowMs: number): void;
  /** Images that are there for clients. */
  count(): number;
}
