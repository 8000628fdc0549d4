/**
 * HTTP for one port of one sandbox, for those who have a connect token of it: HTTP/1.1, HTTP/2 and websockets come in, HTTP/1.1 goes to the program.
 *
 * Each request gets a connection of its own into the sandbox and is written anew from what was understood of it. So whatever a client and the program
 * may read differently, there is no second request on that connection to be confused with.
 */
import http, { type IncomingMessage } from 'node:http';
import http2, { type ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import tls from 'node:tls';
import type { ConnectTokens } from '../../auth/connect-tokens.ts';
import { SkerryError, toSkerryError } from '../../errors/skerry-error.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { sniff } from '../../transport/first-bytes.ts';
import { Http1Guard } from '../../transport/http1-guard.ts';
import type { AnyRequest, AnyResponse } from '../../transport/port.ts';
import { isEncrypted } from '../../transport/tunnel.ts';
import { MOST_CONNECTIONS, type Receiver } from '../entrance.ts';
import { cut } from '../splice.ts';
import { authorize } from './authorize.ts';
import { type Exchange, forward } from './forward.ts';
import { readRequestLine } from './request-line.ts';
import { endWhenSilent } from './silent-streams.ts';
import type { GatewayTarget } from './target.ts';
import { responseOn, upgrade } from './websocket.ts';

export interface GatewayOptions {
  readonly target: GatewayTarget;
  readonly tokens: Pick<ConnectTokens, 'verify'>;
  readonly logger: Logger;
  /** Whether connections from an address, of either family, are taken; all by default. */
  readonly mayEnter?: (address: string) => boolean;
  /** How long a request and its answer, or a websocket, may carry nothing. */
  readonly idleMs: number;
  /** How long a connection may idle between requests, or dribble a header, 60 s by default. */
  readonly headerTimeoutMs?: number;
  /** How long a request body may stand still, 60 s by default. */
  readonly bodyIdleTimeoutMs?: number;
  /** How long a new connection may stay silent, 10 s by default. */
  readonly firstBytesTimeoutMs?: number;
}

const MAX_HEADER_BYTES = 32 << 10;
const MiB = 1 << 20;

const http2Options: http2.ServerOptions = {
  // Node cuts streams of a session that keeps more than this, so it must hold the windows of all of them.
  maxSessionMemory: 256,
  settings: { initialWindowSize: MiB, maxConcurrentStreams: 128, maxHeaderListSize: MAX_HEADER_BYTES },
};

export class HttpGateway implements Receiver {
  readonly http2 = true;
  readonly #options: GatewayOptions;
  readonly #guard: Http1Guard;
  readonly #http1: http.Server;
  readonly #http2: http2.Http2Server;
  readonly #sockets = new Set<Socket>();
  /** What ends with a connection of HTTP/1.1: the answers that wait their turn on it hear of nothing. */
  readonly #gone = new WeakMap<Socket, AbortSignal>();
  #atOnce = 0;
  #closed = false;

  constructor(options: GatewayOptions) {
    this.#options = options;
    const { idleMs, headerTimeoutMs = 60_000, bodyIdleTimeoutMs: bodyIdleMs = 60_000 } = options;
    this.#guard = new Http1Guard({ headerTimeoutMs, bodyIdleTimeoutMs: bodyIdleMs });

    this.#http1 = http.createServer({
      keepAliveTimeout: 0, // the guard times idle connections out
      maxHeaderSize: MAX_HEADER_BYTES,
      insecureHTTPParser: false,
      requireHostHeader: true,
      // Anything else that asks for an upgrade (h2c) is answered as the plain request it also is.
      shouldUpgradeCallback: ({ method, headers }) =>
        method === 'GET' && headers.upgrade?.toLowerCase() === 'websocket',
    });
    this.#http1.timeout = idleMs; // of each connection
    const onRequest = (proceed: boolean) => (request: IncomingMessage, response: http.ServerResponse) => {
      this.#guard.onRequest(request, response);
      void this.#serve(request, response, proceed ? () => response.writeContinue() : undefined);
    };
    this.#http1.on('request', onRequest(false));
    this.#http1.on('checkContinue', onRequest(true));
    this.#http1.on('upgrade', (request, _socket, head) => {
      this.#guard.release(request.socket);
      void this.#serveUpgrade(request, request.socket, head);
    });
    this.#http1.on('clientError', (_error, socket) => {
      if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
      else socket.destroy();
    });

    this.#http2 = http2.createServer(http2Options);
    this.#http2.on('request', (request, response) => void this.#serve(request, response));
    this.#http2.on('checkContinue', (request, response) => {
      void this.#serve(request, response, () => response.writeContinue());
    });
    this.#http2.on('stream', (stream) => endWhenSilent(stream, { bodyIdleMs, idleMs }));
    this.#http2.on('session', (session) => closeWhenIdle(session, headerTimeoutMs));
    this.#http2.on('sessionError', () => {}); // without a listener Node would throw
  }

  admit(client: Socket): boolean {
    const { mayEnter = () => true } = this.#options;
    const address = client.remoteAddress?.replace(/^::ffff:/, '');
    const enters =
      !this.#closed && this.#sockets.size < MOST_CONNECTIONS && address !== undefined && mayEnter(address);
    if (!enters) {
      cut(client);
      return false;
    }
    this.#sockets.add(client);
    client.once('close', () => this.#sockets.delete(client));
    return true;
  }

  serve(socket: Socket): void {
    socket.on('error', () => socket.destroy()); // a reset by the peer is not an event worth a log line
    socket.setNoDelay(true);
    sniff(socket, this.#options.firstBytesTimeoutMs ?? 10_000, (protocol) => {
      switch (protocol) {
        case 'http2':
          // Node's http2 turns a TLS socket away that did not negotiate h2.
          if (socket instanceof tls.TLSSocket) socket.alpnProtocol = 'h2';
          socket.allowHalfOpen = false; // a session that its client has left must end
          this.#http2.emit('connection', socket);
          return;
        case 'http1':
          this.#guard.track(socket);
          this.#gone.set(socket, closeOf(socket));
          this.#http1.emit('connection', socket);
          return;
        case 'tls':
          socket.destroy();
          return;
        default:
          protocol satisfies never;
      }
    });
  }

  /** Cuts every connection. */
  close(): void {
    this.#closed = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  async #serve(request: AnyRequest, response: AnyResponse, proceed?: () => void): Promise<void> {
    const signals = [closeOf(response), this.#gone.get(request.socket)];
    const gone = AbortSignal.any(signals.filter((each) => each !== undefined));
    // Whoever reads or writes hears of it from the stream's end as well.
    request.on('error', () => {});
    response.on('error', () => {});
    await this.#answering(response, async () => {
      const exchange = await this.#admit(request);
      if (exchange.cookies.length > 0) response.setHeader('set-cookie', [...exchange.cookies]);
      proceed?.();
      const connection = await this.#options.target.connect(gone);
      await forward(exchange, request, response, connection, gone);
    });
  }

  async #serveUpgrade(request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
    const signal = this.#gone.get(socket) ?? closeOf(socket);
    const response = responseOn(request, socket);
    await this.#answering(response, async () => {
      const exchange = await this.#admit(request);
      const connection = await this.#options.target.connect(signal);
      const { idleMs } = this.#options;
      await upgrade({ exchange, response, socket, head, connection, idleMs, signal });
    });
  }

  /** @throws SkerryError when the request is not one that may pass */
  async #admit(request: AnyRequest): Promise<Exchange> {
    const { target, tokens } = this.#options;
    const line = readRequestLine(request);
    const encrypted = isEncrypted(request);
    // Typed as always there; an HTTP/2 request whose connection is gone has none.
    const { remoteAddress, localPort }: Partial<Socket> = request.socket ?? {};
    const { headers } = request;
    const admitted = await authorize({ ...line, target, tokens, headers, encrypted, localPort });
    const { userMetadata } = admitted.grant;
    return {
      ...line,
      cookies: admitted.cookies,
      asked: { headers: request.rawHeaders, host: line.host, remoteAddress, encrypted, userMetadata },
    };
  }

  async #answering(response: AnyResponse, answer: () => Promise<void>): Promise<void> {
    if (this.#atOnce >= MOST_CONNECTIONS) {
      return refuse(
        response,
        new SkerryError(
          'unavailable',
          `${MOST_CONNECTIONS} requests to this port of the sandbox are under way.`,
        ),
      );
    }
    this.#atOnce++;
    try {
      await answer();
    } catch (thrown) {
      const { sandboxId, port } = this.#options.target;
      const error = toSkerryError(thrown);
      const level = error.code === 'internal' ? 'error' : 'debug';
      this.#options.logger[level](
        { sandboxId, port, code: error.code, error: error.message },
        'gateway.failed',
      );
      refuse(response, error);
    } finally {
      this.#atOnce--;
    }
  }
}

/** In one line of text, unless the answer has begun: then it is cut, so that it does not look complete. */
function refuse(response: AnyResponse, error: SkerryError): void {
  if (response.destroyed || response.writableEnded) return;
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.statusCode = error.kind.http;
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  response.setHeader('cache-control', 'no-store');
  if (error.code === 'unauthenticated') response.setHeader('www-authenticate', 'Bearer realm="sandbox"');
  const text =
    error.code === 'internal' ? 'Something failed in Skerry; its log has the details.' : error.message;
  response.end(`${text}\n`);
  // What is left of the body of a stream is nobody's; otherwise the stream would stay for as long as its client likes.
  if ('stream' in response) response.stream.once('finish', () => response.stream.close());
}

/** Is aborted when the stream is over, or its connection. */
function closeOf(stream: Pick<Socket, 'once'> | AnyResponse): AbortSignal {
  const closed = new AbortController();
  stream.once('close', () => closed.abort());
  return closed.signal;
}

function closeWhenIdle(session: ServerHttp2Session, idleMs: number): void {
  let streams = 0;
  session.on('error', () => {}); // its streams fail with it
  session.on('stream', (stream) => {
    streams++;
    stream.once('close', () => {
      if (--streams === 0 && !session.destroyed) session.setTimeout(idleMs); // it may have run out before
    });
  });
  session.on('timeout', () => {
    if (streams === 0) session.close();
  });
  session.setTimeout(idleMs);
}
