/** Uploaded bytes and the file mounts made of them. `blob-store.ts` and `mount-service.ts` implement this. */
import type { Readable } from 'node:stream';
import type { BlobId, MountId } from '../ids.ts';

/** A blob, and when somebody last used it. */
export interface BlobUse {
  readonly sha256Hex: string;
  readonly bytes: number;
  /** Unix milliseconds. */
  readonly lastUsedMs: number;
}

/** Content-addressed files under the data directory; a file appears only once it is complete and its digest was checked. */
export interface BlobStore {
  has(sha256Hex: string): boolean;
  /** @throws SkerryError `invalid-argument` when the digest does not match, `disk-full` */
  putBytes(sha256Hex: string, bytes: Uint8Array): Promise<void>;
  /** Absolute path of the content. @throws SkerryError `not-found` */
  path(sha256Hex: string): string;
  /** Keeps files, by their paths, where they are until the returned function is called. */
  hold(files: readonly string[]): () => void;
  /** Every blob there is. */
  uses(): Promise<readonly BlobUse[]>;
  /** Whether nobody used it since it was looked at, nor holds it. */
  isUnused(use: BlobUse): boolean;
  /** Removes blobs. When this returns nobody finds one any more; the promise is about their bytes. What cannot be removed is told to the log. */
  remove(digests: readonly string[]): Promise<void>;
  /** Whether there is room for an upload, which takes none when its content is there. @throws SkerryError `disk-full` */
  requireRoom(upload: { readonly sha256Hex: string; readonly length: number }): Promise<void>;
  /** Announces an upload that comes over HTTP. Lengths up to 16 GiB. */
  announce(upload: { readonly sha256Hex: string; readonly length: number }): BlobId;
  /** Takes the announced bytes. Resolves to their MD5 (hex), which clients compare. @throws SkerryError `not-found`, `invalid-argument`, `disk-full` */
  receive(id: BlobId, body: Readable, signal: AbortSignal): Promise<{ readonly md5Hex: string }>;
  /** The digest of a received upload. @throws SkerryError `not-found`; `conflict` while it is incomplete */
  digestOf(id: BlobId): string;
  /** URL path of an upload or download with its own signed credential, valid for a day. */
  urlPath(id: BlobId): string;
  /** The blob that a request's URL (path and query) from `urlPath` gives access to. @throws SkerryError `permission-denied` */
  authorize(url: string): BlobId;
}

export interface MountedFile {
  /** Absolute, normalized path in the sandbox. */
  readonly path: string;
  readonly sha256Hex: string;
  /** Permission bits. */
  readonly mode: number;
}

export interface Mounts {
  /** Equal contents share one id. @throws SkerryError `invalid-argument` (paths), `conflict` (content not uploaded) */
  create(files: readonly MountedFile[]): { readonly id: MountId; readonly checksum: string };
  /** @throws SkerryError `not-found` */
  files(id: MountId): readonly MountedFile[];
  /** Digests of the files of mounts that sandboxes have which have not ended. */
  digestsInUse(): ReadonlySet<string>;
  /** Forgets the mounts that have a file of one of these digests. */
  forgetHolding(digests: readonly string[]): void;
}
