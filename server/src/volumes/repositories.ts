/** The rows that volumes are kept in; their files are in layers beside the database. `store/volumes.ts` implements this. */
import type { EnvironmentId, TaskId, UploadId, VolumeId, VolumeLayerId, VolumeMountId } from '../ids.ts';
import type { VolumeInfo } from './volumes.ts';

/** What a volume holds now. */
export interface VolumeVersion {
  /** Counts the versions from 0, which is empty. */
  readonly number: number;
  /** The lowest first. */
  readonly layers: readonly VolumeLayerId[];
  /** Of all files together. */
  readonly bytes: number;
  /** Files, directories and links. */
  readonly files: number;
}

export interface VolumeRepository {
  byId(id: string): VolumeInfo | undefined;
  byName(environmentId: EnvironmentId, name: string): VolumeInfo | undefined;
  /** Named ones, newest first, created strictly before `beforeMs`. */
  list(environmentId: EnvironmentId, beforeMs: number, limit: number): readonly VolumeInfo[];
  insert(volume: Omit<VolumeInfo, 'createdAtMs'>, nowMs: number): VolumeInfo;
  rename(id: VolumeId, name: string): void;
  heard(id: VolumeId, nowMs: number): void;
  delete(id: VolumeId): void;
  /** Ephemeral ones last heard of before `beforeMs`. */
  unheard(beforeMs: number): readonly VolumeId[];

  /** Undefined when there is no such volume. */
  version(id: VolumeId): VolumeVersion | undefined;
  setVersion(id: VolumeId, version: VolumeVersion): void;
  /** Layers of every volume, and of every working tree. */
  usedLayers(): ReadonlySet<VolumeLayerId>;
}

/** A working tree of a sandbox. */
export interface VolumeMountRow {
  readonly id: VolumeMountId;
  readonly taskId: TaskId;
  readonly volumeId: VolumeId;
  /** What id 0 of the sandbox's users is on the machine; undefined where they are the machine's. */
  readonly firstId: number | undefined;
  /** Whether the sandbox can write in it. */
  readonly writable: boolean;
  /** The layers it was made over. */
  readonly base: readonly VolumeLayerId[];
  /** Those of the version it shows since the last reload. */
  readonly shown: readonly VolumeLayerId[];
  /** Those of the version that a reload is bringing it to: it shows some of both. */
  readonly reloading: readonly VolumeLayerId[] | undefined;
}

export interface VolumeMountRepository {
  get(id: VolumeMountId): VolumeMountRow | undefined;
  ofTask(taskId: TaskId): readonly VolumeMountRow[];
  ofVolume(volumeId: VolumeId): readonly VolumeMountRow[];
  all(): readonly VolumeMountRow[];
  insert(row: Omit<VolumeMountRow, 'reloading'>): void;
  /** A reload begins. */
  setReloading(id: VolumeMountId, layers: readonly VolumeLayerId[]): void;
  /** A reload is done. */
  setShown(id: VolumeMountId, layers: readonly VolumeLayerId[]): void;
  delete(id: VolumeMountId): void;
}

/** Where the bytes of a block are: in a file of an upload, or of a layer. */
export interface BlockPlace {
  readonly holder: UploadId | VolumeLayerId;
  /** A byte string relative to the holder's directory. */
  readonly path: string;
  readonly offset: number;
  /** Without the zeros at its end. */
  readonly length: number;
}

export interface BlockRepository {
  insert(sha256Hex: string, place: BlockPlace): void;
  /** Some place of it; there may be none any more. */
  find(sha256Hex: string): BlockPlace | undefined;
  /** What was received of a file of an upload: digests by offset. */
  received(upload: UploadId, path: string): ReadonlyMap<number, string>;
  /** Its files are in a layer now. */
  move(upload: UploadId, layer: VolumeLayerId, paths: ReadonlyMap<string, string>): void;
  /** What was in some layers is, under the same paths, in another one. */
  merge(layers: readonly VolumeLayerId[], into: VolumeLayerId): void;
  forget(place: BlockPlace): void;
  forgetHolder(holder: UploadId | VolumeLayerId): void;
}
