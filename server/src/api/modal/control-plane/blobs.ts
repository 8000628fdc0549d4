/**
 * Blob transfers: RPCs that hand out signed URLs, and the HTTP endpoint behind these. Facts: docs/protocol/volumes-blobs-secrets.md, section 2.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { pipeline } from 'node:stream/promises';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { BLOB_URL_PREFIX } from '../../../blobs/blob-store.ts';
import type { BlobStore } from '../../../blobs/blobs.ts';
import { type SkerryError, toSkerryError } from '../../../errors/skerry-error.ts';
import type { BlobId } from '../../../ids.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { callOf } from '../rpc/call.ts';

export interface BlobHandlerDeps {
  readonly blobs: BlobStore;
}

export function blobHandlers({ blobs }: BlobHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  return {
    blobCreate({ contentSha256Base64, contentLength }, context) {
      const sha256Hex = Buffer.from(contentSha256Base64, 'base64').toString('hex');
      const id = blobs.announce({ sha256Hex, length: Number(contentLength) });
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
      // A blob id that is none is rejected where it is decoded.
      const id = blobId as BlobId;
      blobs.digestOf(id);
      return { downloadUrl: absoluteUrl(blobs.urlPath(id), context) };
    },
  };
}

/** At the host the client reached us by: no other name is known to lead here from where it is. */
function absoluteUrl(path: string, context: HandlerContext): string {
  const { encrypted, authority } = callOf(context);
  return `${encrypted ? 'https' : 'http'}://${authority}${path}`;
}

/** HTTP/1.1, or HTTP/2 through Node's compatibility layer. */
type AnyRequest = IncomingMessage | Http2ServerRequest;
type AnyResponse = ServerResponse | Http2ServerResponse;

/** Takes the requests below a path prefix; the transport routes to it. */
export interface BlobRoute {
  readonly prefix: string;
  /** Answers the request completely; never rejects. */
  handle(request: AnyRequest, response: AnyResponse): Promise<void>;
}

/** A transfer that moves no byte for this long is given up. */
const IDLE_MS = 60_000;

/** PUT and GET of the signed URLs. */
export function blobRoute({ blobs, logger }: BlobHandlerDeps & { readonly logger: Logger }): BlobRoute {
  return {
    prefix: BLOB_URL_PREFIX,
    async handle(request, response) {
      const started = performance.now();
      const gone = new AbortController();
      response.once('close', () => gone.abort());
      request.setTimeout(IDLE_MS, () => request.destroy());
      try {
        const id = blobs.authorize(request.url ?? '');
        if (request.method === 'PUT') await receive(blobs, id, request, response, gone.signal);
        else if (request.method === 'GET') await send(blobs, id, response, gone.signal);
        else respond(response, 405, 'Use PUT to upload and GET to download.');
      } catch (error) {
        fail(request, response, toSkerryError(error));
      }
      const durationMs = Math.round(performance.now() - started);
      logger.debug({ method: request.method, status: response.statusCode, durationMs }, 'blob transfer');
    },
  };
}

async function receive(
  blobs: BlobStore,
  id: BlobId,
  request: AnyRequest,
  response: AnyResponse,
  signal: AbortSignal,
): Promise<void> {
  const { md5Hex } = await blobs.receive(id, request, signal);
  // Python takes an upload for good only with exactly 200 and the MD5 as ETag.
  response.setHeader('etag', `"${md5Hex}"`);
  respond(response, 200, '');
}

async function send(blobs: BlobStore, id: BlobId, response: AnyResponse, signal: AbortSignal): Promise<void> {
  const path = blobs.path(blobs.digestOf(id));
  const { size } = await stat(path);
  response.setHeader('content-type', 'application/octet-stream');
  response.setHeader('content-length', size);
  await pipeline(createReadStream(path), response, { signal });
}

function respond(response: AnyResponse, status: number, text: string): void {
  response.statusCode = status;
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  response.end(text);
}

function fail(request: AnyRequest, response: AnyResponse, error: SkerryError): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  // The body may not have been read to its end: an HTTP/1.1 connection cannot carry another request then.
  if (request.httpVersionMajor === 1) response.setHeader('connection', 'close');
  respond(response, error.kind.http, `${error.message}\n`);
}
