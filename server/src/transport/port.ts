/**
 * The one listening port. It tells TLS, HTTP/2 and HTTP/1.1 apart by their first bytes and hands each socket to the server that speaks it; all three
 * end in the same request handler. The facts behind the settings are in `docs/protocol/transport.md`.
 */
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import http2, {
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import type { Logger } from '../telemetry/logger.ts';
import { sniff, type WireProtocol } from './first-bytes.ts';
import { Http1Guard } from './http1-guard.ts';
import type { Listener } from './listener.ts';
import { maySpeak, type PlaintextFrom, refusePlaintext } from './plaintext.ts';
import { isTunnelled, markTunnelled, TUNNEL_PROTOCOL } from './tunnel.ts';

/** A request of either HTTP version; both have the stream and header interfaces handlers need. */
export type AnyRequest = IncomingMessage | Http2ServerRequest;
export type AnyResponse = ServerResponse | Http2ServerResponse;
export type RequestListener = (request: AnyRequest, response: AnyResponse) => void;
/** A websocket upgrade: the listener owns the socket and must answer or destroy it. */
export type UpgradeListener = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

export interface PortOptions {
  /** What listens; it is closed with the port. */
  readonly listener: Listener;
  /** PEM certificate chain and key for connections that start with a TLS handshake. */
  readonly tls: { readonly cert: string; readonly key: string };
  readonly plaintextFrom: PlaintextFrom;
  readonly onRequest: RequestListener;
  readonly onUpgrade: UpgradeListener;
  readonly logger: Logger;
  /** How long a new connection may stay silent, 10 s by default. */
  readonly firstBytesTimeoutMs?: number;
  /** How long an HTTP/1.1 connection may idle or dribble a header, 60 s by default. */
  readonly headerTimeoutMs?: number;
  /** How long an HTTP/1.1 request body may stand still, 60 s by default. */
  readonly bodyIdleTimeoutMs?: number;
}

export interface Port {
  readonly address: { readonly host: string; readonly port: number };
  /** Shows another certificate (PEM) to connections that come from now on. */
  useCertificate(tls: PortOptions['tls']): void;
  /** Like `close`, but the listener goes on: what comes to it waits for whoever takes it next. */
  leave(graceMs: number): Promise<void>;
  /** Takes no new connections, lets running requests finish for at most `graceMs`, then cuts what is left. */
  close(graceMs: number): Promise<void>;
}

const MiB = 1 << 20;

/** Node's defaults cut connections whose big streams stall, and starve throughput with 64 KiB windows (transport.md, 4). */
const http2Options: http2.ServerOptions = {
  maxSessionMemory: 1024,
  settings: { initialWindowSize: 16 * MiB, maxConcurrentStreams: 10_000 },
  // Clients reset streams as a matter of course (an aborted wait, an idle stdio stream); the default of 1,000, and 33 a second, would end busy connections.
  streamResetBurst: 2_000,
  streamResetRate: 200,
};
const SESSION_WINDOW = 64 * MiB;

/** Serves what comes from now on. */
export function createPort(options: PortOptions): Port {
  const { listener, logger } = options;
  const firstBytesTimeoutMs = options.firstBytesTimeoutMs ?? 10_000;
  const sockets = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  const guard = new Http1Guard({
    headerTimeoutMs: options.headerTimeoutMs ?? 60_000,
    bodyIdleTimeoutMs: options.bodyIdleTimeoutMs ?? 60_000,
  });
  let closing = false;

  const http1Server = http.createServer({
    keepAliveTimeout: 0, // the guard times idle connections out
    maxHeaderSize: 32 << 10,
    // Anything else that asks for an upgrade (h2c) is answered as the plain request it also is.
    shouldUpgradeCallback: (request) => request.headers.upgrade?.toLowerCase() === 'websocket',
  });
  http1Server.on('request', (request, response) => {
    guard.onRequest(request, response);
    options.onRequest(request, response);
  });
  http1Server.on('upgrade', (request, socket, head) => {
    guard.release(request.socket);
    options.onUpgrade(request, socket, head);
  });
  http1Server.on('clientError', (_error, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
    else socket.destroy();
  });

  const http2Server = http2.createServer(http2Options);
  http2Server.on('request', options.onRequest);
  http2Server.on('session', (session) => {
    if (closing) return session.close();
    sessions.add(session);
    session.setLocalWindowSize(SESSION_WINDOW);
    session.on('error', (error) => logger.debug({ error: error.message }, 'http2 session failed'));
    session.once('close', () => sessions.delete(session));
  });
  http2Server.on('sessionError', () => {}); // logged on the session; without a listener Node would throw

  const tlsServer = tls.createServer({
    cert: options.tls.cert,
    key: options.tls.key,
    ALPNProtocols: ['h2', 'http/1.1', TUNNEL_PROTOCOL],
    minVersion: 'TLSv1.2',
    handshakeTimeout: firstBytesTimeoutMs,
  });
  tlsServer.on('secureConnection', (socket) => {
    socket.on('error', () => socket.destroy());
    if (socket.alpnProtocol === 'h2') return speak(socket, 'http2');
    if (socket.alpnProtocol === 'http/1.1') return speak(socket, 'http1');
    if (socket.alpnProtocol === TUNNEL_PROTOCOL) markTunnelled(socket);
    // What is tunnelled speaks for itself; and the Python client offers no ALPN on localhost (transport.md, 2).
    sniff(socket, firstBytesTimeoutMs, (protocol) => speak(socket, protocol));
  });
  tlsServer.on('tlsClientError', (error, socket) => {
    logger.debug({ error: error.message, remote: socket.remoteAddress }, 'tls handshake failed');
    socket.destroy();
  });

  const speak = (socket: Socket, protocol: WireProtocol) => {
    switch (protocol) {
      case 'http2':
        // Node's http2 turns a TLS socket away that did not negotiate h2.
        if (socket instanceof tls.TLSSocket) socket.alpnProtocol = 'h2';
        http2Server.emit('connection', socket);
        return;
      case 'http1':
        guard.track(socket);
        http1Server.emit('connection', socket);
        return;
      case 'tls':
        // Within TLS only a tunnel carries TLS again: some clients insist on it on localhost.
        if (socket instanceof tls.TLSSocket && !isTunnelled(socket)) socket.destroy();
        else tlsServer.emit('connection', socket);
        return;
      default:
        protocol satisfies never;
    }
  };

  listener.handTo((socket) => {
    socket.allowHalfOpen = false; // who has left gets no answer, and leaves nothing behind
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    sniff(socket, firstBytesTimeoutMs, (protocol) => {
      if (maySpeak(socket, protocol, options.plaintextFrom)) return speak(socket, protocol);
      logger.info({ remote: socket.remoteAddress, protocol }, 'plaintext connection refused');
      refusePlaintext(socket, protocol);
    });
  });

  /** @param until resolves when all connections are closed */
  async function drained(until: () => Promise<void>, graceMs: number): Promise<void> {
    closing = true;
    const over = until();
    for (const session of sessions) session.close();
    guard.closeGracefully();
    const cut = setTimeout(() => {
      for (const session of sessions) session.destroy();
      for (const socket of sockets) socket.destroy();
    }, graceMs);
    await over;
    clearTimeout(cut);
  }

  async function allClosed(): Promise<void> {
    // One that was reset is closed as well.
    await Promise.all([...sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
  }

  return {
    address: listener.address,
    useCertificate: ({ cert, key }) => tlsServer.setSecureContext({ cert, key, minVersion: 'TLSv1.2' }),
    leave: async (graceMs) => {
      listener.hold();
      await drained(allClosed, graceMs);
    },
    close: (graceMs) => drained(() => listener.close(), graceMs),
  };
}
