/**
 * What a blob id says: the digest and the length of the content it announces. Being self-describing it needs no table and stays valid over a restart of
 * the server in the middle of an upload.
 */

import { SkerryError } from '../errors/skerry-error.ts';
import type { BlobId } from '../ids.ts';
import { clip } from '../platform/text.ts';

const digestPattern = /^[0-9a-f]{64}$/;
const idPattern = /^bl-([0-9a-f]{64})x(0|[1-9][0-9]{0,10})$/;

/** Bytes of one upload. */
export const MAX_BLOB_BYTES = 16 * 1024 ** 3;

export const isSha256Hex = (text: string): boolean => digestPattern.test(text);

export interface BlobAnnouncement {
  readonly sha256Hex: string;
  /** Bytes. */
  readonly length: number;
}

/** @throws SkerryError `invalid-argument`, `too-large` */
export function encodeBlobId({ sha256Hex, length }: BlobAnnouncement): BlobId {
  if (!isSha256Hex(sha256Hex))
    throw new SkerryError('invalid-argument', `'${clip(sha256Hex)}' is no SHA-256 digest.`);
  if (!Number.isSafeInteger(length) || length < 0) {
    throw new SkerryError('invalid-argument', `Invalid blob length ${length}.`);
  }
  if (length > MAX_BLOB_BYTES) {
    throw new SkerryError(
      'too-large',
      `A blob may have at most ${MAX_BLOB_BYTES} bytes, this one has ${length}.`,
    );
  }
  return `bl-${sha256Hex}x${length}` as BlobId; // the one place where blob ids are made
}

/** @throws SkerryError `not-found` for text that no server of ours made */
export function decodeBlobId(id: string): BlobAnnouncement {
  const match = idPattern.exec(id);
  const length = Number(match?.[2]);
  if (!match?.[1] || length > MAX_BLOB_BYTES)
    throw new SkerryError('not-found', `Blob '${clip(id)}' not found.`);
  return { sha256Hex: match[1], length };
}
