/** Volumes: file systems with a life of their own. `volume-service.ts` and `volume-files.ts` implement this. */
import type { EnvironmentId, VolumeId } from '../ids.ts';

/** Which way of moving files the clients use; what is kept is the same. */
export type FileProtocol = 1 | 2;

export interface VolumeInfo {
  readonly id: VolumeId;
  readonly environmentId: EnvironmentId;
  /** Undefined for ephemeral ones. */
  readonly name: string | undefined;
  readonly protocol: FileProtocol;
  readonly createdAtMs: number;
}

export interface Volumes {
  /** @throws SkerryError `already-exists` when asked to fail then, `invalid-argument` for a bad name */
  create(
    environmentId: EnvironmentId,
    name: string,
    protocol: FileProtocol,
    onExisting: 'keep' | 'fail',
  ): VolumeInfo;
  /** Goes when nobody has asked for it to be kept (`heartbeat`) for 15 minutes. */
  createEphemeral(environmentId: EnvironmentId, protocol: FileProtocol): VolumeInfo;
  /** @throws SkerryError `not-found` */
  lookup(environmentId: EnvironmentId, name: string): VolumeInfo;
  /** @throws SkerryError `not-found` */
  get(id: VolumeId): VolumeInfo;
  /** @throws SkerryError `not-found` */
  heartbeat(id: VolumeId): void;
  /** @throws SkerryError `not-found`; `already-exists`, `invalid-argument` for the name; `conflict` for an ephemeral one */
  rename(id: VolumeId, name: string): void;
  /** @throws SkerryError `not-found` */
  delete(id: VolumeId): void;
  /** Named ones, newest first, created strictly before `beforeMs`; at most 100. */
  list(environmentId: EnvironmentId, beforeMs: number | undefined, limit: number): readonly VolumeInfo[];
}

export interface FileEntry {
  /** Relative to the root, without a leading slash. */
  readonly path: string;
  readonly kind: 'file' | 'directory' | 'link';
  readonly mtimeMs: number;
  /** Bytes. */
  readonly size: number;
}

/** Bytes of a file that stay as they are for an hour at least, whatever becomes of the file. */
export interface FileRange {
  /** Of the whole file. */
  readonly size: number;
  readonly start: number;
  readonly length: number;
  /** The file on the host, a byte string relative to the volumes' directory. */
  readonly place: string;
}

/** A file whose content is in the blob store. */
export interface WholeFile {
  readonly path: string;
  readonly sha256Hex: string;
  /** Permission bits. */
  readonly mode: number;
}

/** A file that is uploaded in blocks of `BLOCK_BYTES`. */
export interface BlockFile {
  readonly path: string;
  readonly size: number;
  readonly mode: number;
  readonly blocks: readonly {
    /** Of the block without the zeros at its end. */
    readonly sha256Hex: string;
    /** What `receiveBlock` returned for it; undefined before. */
    readonly receipt: string | undefined;
  }[];
}

export interface MissingBlock {
  readonly file: number;
  readonly block: number;
  /** What opens the way for it, as text of a URL. */
  readonly ticket: string;
}

/** Every change is a new version of the whole volume: others see all of it or nothing. Paths are as `paths.ts` has them. */
export interface VolumeFiles {
  /** What a directory holds, or one file. @throws SkerryError `not-found` */
  list(id: VolumeId, path: string, options: { readonly recursive: boolean }): AsyncIterable<FileEntry>;
  /** @param length 0 is to the end @throws SkerryError `not-found`; `invalid-argument` for what is no file, or a range outside it */
  range(id: VolumeId, path: string, start: number, length: number): Promise<FileRange>;
  /** @throws SkerryError `not-found`; `conflict` for a directory that holds something, unless `recursive` */
  remove(id: VolumeId, path: string, recursive: boolean): Promise<void>;
  /** As `cp -p [-r]`. @throws SkerryError `not-found`, `conflict`, `invalid-argument`, `volume-full`, `disk-full` */
  copy(
    id: VolumeId,
    sources: readonly string[],
    destination: string,
    options: { readonly recursive: boolean },
  ): Promise<void>;
  /** All of them or none. @throws SkerryError `already-exists`, `conflict`, `invalid-argument`, `too-large`, `volume-full`, `disk-full` */
  putWhole(id: VolumeId, files: readonly WholeFile[], options: PutOptions): Promise<void>;
  /**
   * A file of what comes, which is nowhere in memory. Nothing changes unless all of it came.
   * @param mode permission bits @returns its bytes @throws SkerryError like `putWhole`, and what `content` throws
   */
  putStream(
    id: VolumeId,
    path: string,
    mode: number,
    content: AsyncIterable<Uint8Array>,
    options: PutOptions,
  ): Promise<number>;
  /** All of them once no block is missing, else none. @throws SkerryError like `putWhole` */
  putBlocks(id: VolumeId, files: readonly BlockFile[], options: PutOptions): Promise<readonly MissingBlock[]>;
}

export interface PutOptions {
  /** Whether a file may take the place of another. */
  readonly overwrite: boolean;
}

/** The size in which the clients of protocol 2 move files. */
export const BLOCK_BYTES = 8 * 1024 * 1024;

/** Of one volume; a change that would exceed it is refused. */
export const MAX_VOLUME_FILES = 1_000_000;
