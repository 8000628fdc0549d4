/** File mounts. A mount never changes; equal file lists are one mount. */
import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';
import { type MountId, newMountId } from '../ids.ts';
import { MAX_NAME_BYTES, MAX_PATH_BYTES } from '../platform/path-limits.ts';
import { clip } from '../platform/text.ts';
import { isSha256Hex } from './blob-id.ts';
import type { BlobStore, MountedFile, Mounts } from './blobs.ts';
import type { MountRepository } from './repositories.ts';

const MAX_FILES = 100_000;
const PERMISSION_BITS = 0o7777;

export class MountService implements Mounts {
  readonly #mounts: MountRepository;
  readonly #blobs: Pick<BlobStore, 'has'>;
  readonly #now: () => number;

  /** `now` is in Unix milliseconds. */
  constructor(mounts: MountRepository, blobs: Pick<BlobStore, 'has'>, now: () => number = Date.now) {
    this.#mounts = mounts;
    this.#blobs = blobs;
    this.#now = now;
  }

  create(files: readonly MountedFile[]): { readonly id: MountId; readonly checksum: string } {
    if (files.length > MAX_FILES) {
      throw new SkerryError(
        'too-large',
        `A mount may have at most ${MAX_FILES} files, this one has ${files.length}.`,
      );
    }
    const sorted = files.map(checkFile).sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
    checkTree(sorted);
    for (const file of sorted) {
      if (this.#blobs.has(file.sha256Hex)) continue;
      throw new SkerryError('conflict', `The content of '${clip(file.path)}' was not uploaded.`);
    }
    const checksum = createHash('sha256').update(JSON.stringify(sorted)).digest('hex');
    const existing = this.#mounts.idOfChecksum(checksum);
    if (existing) return { id: existing, checksum };
    const id = newMountId();
    this.#mounts.insert({ id, checksum, files: sorted }, this.#now());
    return { id, checksum };
  }

  files(id: MountId): readonly MountedFile[] {
    const row = this.#mounts.byId(id);
    if (!row) throw new SkerryError('not-found', `Mount '${clip(id)}' not found.`);
    return row.files;
  }

  digestsInUse(): ReadonlySet<string> {
    return this.#mounts.digestsInUse();
  }

  forgetHolding(digests: readonly string[]): void {
    this.#mounts.forgetHolding(digests);
  }
}

/** The file with its keys in one order (the checksum depends on it). @throws SkerryError `invalid-argument` */
function checkFile({ path, sha256Hex, mode }: MountedFile): MountedFile {
  const bad = (why: string) =>
    new SkerryError('invalid-argument', `Invalid mount path '${clip(path)}': ${why}.`);
  if (!path.startsWith('/') || path.endsWith('/')) throw bad('it must be the absolute path of a file');
  if (path.includes('\0')) throw bad('it contains a NUL byte');
  if (posix.normalize(path) !== path) throw bad("it must not contain '.', '..' or empty components");
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) throw bad(`it is longer than ${MAX_PATH_BYTES} bytes`);
  if (path.split('/').some((name) => Buffer.byteLength(name) > MAX_NAME_BYTES)) {
    throw bad(`a component is longer than ${MAX_NAME_BYTES} bytes`);
  }
  if (!isSha256Hex(sha256Hex))
    throw new SkerryError('invalid-argument', `'${clip(sha256Hex)}' is no SHA-256 digest.`);
  return { path, sha256Hex, mode: mode & PERMISSION_BITS };
}

/** No path may appear twice or be both a file and a directory. */
function checkTree(files: readonly MountedFile[]): void {
  const paths = new Set<string>();
  for (const { path } of files) {
    if (paths.has(path))
      throw new SkerryError('invalid-argument', `Mount path '${clip(path)}' appears twice.`);
    paths.add(path);
  }
  for (const { path } of files) {
    for (let parent = posix.dirname(path); parent !== '/'; parent = posix.dirname(parent)) {
      if (!paths.has(parent)) continue;
      throw new SkerryError(
        'invalid-argument',
        `Mount path '${clip(parent)}' is both a file and a directory.`,
      );
    }
  }
}
