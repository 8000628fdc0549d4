/**
 * Blob transfers: RPCs that hand out signed URLs, and the HTTP endpoint behind these. Facts: docs/protocol/volumes-blobs-secrets.md, section 2.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import type { ServiceImpl } from '@connectrpc/connect';
import { BLOB_URL_PREFIX } from '../../../blobs/blob-store.ts';
import type { BlobStore } from '../../../blobs/blobs.ts';
import type { BlobId } from '../../../ids.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { absoluteUrl, respond, type TransferRoute, type Transfers, transferRoute } from '../rpc/transfers.ts';
import { urlOfPart } from './volume-files.ts';

export interface BlobHandlerDeps {
  readonly blobs: BlobStore;
}

export function blobHandlers({ blobs }: BlobHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  return {
    async blobCreate({ contentSha256Base64, contentLength }, context) {
      const sha256Hex = Buffer.from(contentSha256Base64, 'base64').toString('hex');
      const announced = { sha256Hex, length: Number(contentLength) };
      const id = blobs.announce(announced);
      await blobs.requireRoom(announced); // told now, and not after the first bytes
      const url = absoluteUrl(blobs.urlPath(id), context);
      // Python reads the new form only, JavaScript and Go the old one only.
      return {
        blobId: id,
        uploadTypeOneof: { case: 'uploadUrl', value: url },
        blobIds: [id],
        uploadTypesOneof: { case: 'uploadUrls', value: { items: [url] } },
      };
    },
    blobGet({ blobId }, context) {
      const part = urlOfPart(blobId, context);
      if (part !== undefined) return { downloadUrl: part };
      // A blob id that is none is rejected where it is decoded.
      const id = blobId as BlobId;
      blobs.digestOf(id);
      return { downloadUrl: absoluteUrl(blobs.urlPath(id), context) };
    },
  };
}

/** PUT and GET of the signed URLs. */
export function blobRoute({ blobs, logger }: BlobHandlerDeps & { readonly logger: Logger }): TransferRoute {
  const transfers = {
    async put({ url, request, response, signal }) {
      const { md5Hex } = await blobs.receive(blobs.authorize(url), request, signal);
      // Python takes an upload for good only with exactly 200 and the MD5 as ETag.
      response.setHeader('etag', `"${md5Hex}"`);
      respond(response, 200, '');
    },
    async get({ url, response, signal }) {
      const path = blobs.path(blobs.digestOf(blobs.authorize(url)));
      const { size } = await stat(path);
      response.setHeader('content-type', 'application/octet-stream');
      response.setHeader('content-length', size);
      await pipeline(createReadStream(path), response, { signal });
    },
  } satisfies Transfers;
  return transferRoute(BLOB_URL_PREFIX, transfers, logger);
}
