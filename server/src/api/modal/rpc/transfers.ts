/** Bytes that clients move by plain HTTP beside their calls, under URLs that are their own credential. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { HandlerContext } from '@connectrpc/connect';
import { type SkerryError, toSkerryError } from '../../../errors/skerry-error.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import { callOf } from './call.ts';

/** HTTP/1.1, or HTTP/2 through Node's compatibility layer. */
type AnyRequest = IncomingMessage | Http2ServerRequest;
type AnyResponse = ServerResponse | Http2ServerResponse;

/** Takes the requests below a path prefix; the transport routes to it. */
export interface TransferRoute {
  readonly prefix: string;
  /** Answers the request completely; never rejects. */
  handle(request: AnyRequest, response: AnyResponse): Promise<void>;
}

export interface Transfer {
  /** Path and query. */
  readonly url: string;
  readonly request: AnyRequest;
  readonly response: AnyResponse;
  /** Aborted when the client goes. */
  readonly signal: AbortSignal;
}

export interface Transfers {
  put(transfer: Transfer): Promise<void>;
  get(transfer: Transfer): Promise<void>;
}

const TIMES = {
  /** A transfer that moves no byte for this long is given up. */
  idleMs: 60_000,
  /**
   * The same for a body that comes to a server which has just started. The HTTP library of the Python clients (aiohttp) sends a PUT that a killed server broke off once more by itself, and of
   * its body only what the first one had not taken: the rest would never come. Told so, the client sends all of it (docs/protocol/volumes-blobs-secrets.md, section 2).
   */
  resentIdleMs: 5_000,
  justStartedMs: 30_000,
  /** Since the server's process was started. */
  sinceStartMs: () => performance.now(),
};

export function transferRoute(
  prefix: string,
  transfers: Transfers,
  logger: Logger,
  { idleMs, resentIdleMs, justStartedMs, sinceStartMs } = TIMES,
): TransferRoute {
  return {
    prefix,
    async handle(request, response) {
      const started = performance.now();
      const gone = new AbortController();
      response.once('close', () => gone.abort());
      request.setTimeout(sinceStartMs() < justStartedMs ? resentIdleMs : idleMs);
      request.once('timeout', () => request.destroy());
      request.once('end', () => request.setTimeout(idleMs)); // the server's own work may take a while
      const transfer = { url: request.url ?? '', request, response, signal: gone.signal };
      try {
        if (request.method === 'PUT') await transfers.put(transfer);
        else if (request.method === 'GET') await transfers.get(transfer);
        else respond(response, 405, 'Use PUT to upload and GET to download.');
      } catch (error) {
        fail(request, response, toSkerryError(error));
      }
      const durationMs = Math.round(performance.now() - started);
      logger.debug({ prefix, method: request.method, status: response.statusCode, durationMs }, 'transfer');
    },
  };
}

/** At the host the client reached us by: no other name is known to lead here from where it is. */
export function absoluteUrl(path: string, context: HandlerContext): string {
  const { encrypted, authority } = callOf(context);
  return `${encrypted ? 'https' : 'http'}://${authority}${path}`;
}

export function respond(response: AnyResponse, status: number, text: string): void {
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
