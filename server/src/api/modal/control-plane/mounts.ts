/** File mounts of the Python client. Facts: docs/protocol/images-and-mounts.md, section 4. */
import { createHash } from 'node:crypto';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { ServiceImpl } from '@connectrpc/connect';
import type { BlobStore, Mounts } from '../../../blobs/blobs.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { BlobId } from '../../../ids.ts';
import { standaloneMountId, standalonePythonNamed } from '../../../images/packages/standalone-python.ts';
import { clip } from '../../../platform/text.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { ObjectCreationType } from '../gen/modal/workspace_pb.ts';

export interface MountHandlerDeps {
  readonly blobs: BlobStore;
  readonly mounts: Mounts;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** Digests of one existence check; the clients send 64. */
const MAX_HASHES = 10_000;
const DEFAULT_MODE = 0o644;

export function mountHandlers({
  blobs,
  mounts,
  now,
}: MountHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  return {
    mountBatchedCheckExistence({ sha256HexHashes }) {
      if (sha256HexHashes.length > MAX_HASHES) {
        throw new SkerryError('too-large', `At most ${MAX_HASHES} hashes can be checked at once.`);
      }
      return {
        missingSha256HexHashes: sha256HexHashes.filter((hash) => !blobs.has(hash)),
        checkedAt: timestampFromMs(now()),
      };
    },
    async mountPutFile({ sha256Hex, dataOneof }) {
      switch (dataOneof.case) {
        case 'data': // present and empty is an empty file
          await blobs.putBytes(sha256Hex, dataOneof.value);
          break;
        case 'dataBlobId': {
          // A blob id that is none is rejected where it is decoded.
          const digest = blobs.digestOf(dataOneof.value as BlobId);
          if (digest !== sha256Hex) {
            throw new SkerryError('invalid-argument', 'The uploaded blob has another SHA-256 than the file.');
          }
          break;
        }
        case undefined: // an existence check
          break;
        default:
          return dataOneof satisfies never;
      }
      return { exists: blobs.has(sha256Hex), checkedAt: timestampFromMs(now()) };
    },
    mountGetOrCreate({ deploymentName, objectCreationType, files }) {
      if (objectCreationType === ObjectCreationType.UNSPECIFIED) return namedMount(deploymentName);
      const { id, checksum } = mounts.create(
        files.map(({ filename, sha256Hex, mode }) => ({
          path: filename,
          sha256Hex,
          mode: mode ?? DEFAULT_MODE,
        })),
      );
      return { mountId: id, handleMetadata: { contentChecksumSha256Hex: checksum } };
    },
  };
}

/** Of named mounts only Modal's own standalone Pythons exist here. */
function namedMount(name: string) {
  const python = standalonePythonNamed(name);
  // The client's own code, which every function of Modal's has, those of image builds among them.
  if (name.startsWith('modal-client-mount-')) {
    throw new SkerryError(
      'unimplemented',
      'Functions, and Image.run_function with them, are not supported: use Sandbox.exec; in images run_commands, with add_local_file(..., copy=True) for a script.',
    );
  }
  if (!python) {
    throw new SkerryError(
      'not-found',
      `Mount '${clip(name)}' not found. Named mounts are not supported: use add_local_file, add_local_dir or a Volume.`,
    );
  }
  const mountId = standaloneMountId(python);
  const contentChecksumSha256Hex = createHash('sha256').update(mountId).digest('hex');
  return { mountId, handleMetadata: { contentChecksumSha256Hex } };
}
