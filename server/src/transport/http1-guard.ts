/**
 * Time-outs and tracking for HTTP/1.1 connections. A `http.Server` that is handed its sockets by `emit('connection')` never listens, so Node's own
 * header and request time-outs and `closeIdleConnections` do not work on it (they start on 'listening').
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export interface Http1Limits {
  /** Until the header of the next request must be complete, also for a connection that idles between requests. */
  readonly headerTimeoutMs: number;
  /** How long a request body may stand still while the server is ready to read it. */
  readonly bodyIdleTimeoutMs: number;
}

interface Tracked {
  headerTimer: NodeJS.Timeout | undefined;
  /** Requests whose response is not finished. */
  active: number;
}

export class Http1Guard {
  readonly #limits: Http1Limits;
  readonly #sockets = new Map<Socket, Tracked>();
  #closing = false;

  constructor(limits: Http1Limits) {
    this.#limits = limits;
  }

  /** Must see every socket before the HTTP server does. */
  track(socket: Socket): void {
    const tracked: Tracked = { headerTimer: undefined, active: 0 };
    this.#sockets.set(socket, tracked);
    this.#awaitHeader(socket, tracked);
    socket.once('close', () => {
      clearTimeout(tracked.headerTimer);
      this.#sockets.delete(socket);
    });
  }

  /** Must see every request before its handler does. */
  onRequest(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const tracked = this.#sockets.get(socket);
    if (!tracked) return;
    clearTimeout(tracked.headerTimer);
    tracked.active++;
    if (this.#closing) response.setHeader('connection', 'close');
    this.#watchBody(request);
    response.once('close', () => {
      tracked.active--;
      if (tracked.active > 0 || socket.destroyed) return;
      if (this.#closing) socket.destroySoon();
      else this.#awaitHeader(socket, tracked);
    });
  }

  /** The connection left HTTP (a websocket): it is no longer subject to the time-outs here. */
  release(socket: Socket): void {
    clearTimeout(this.#sockets.get(socket)?.headerTimer);
  }

  /** Ends idle connections now and the others after the response they are at. */
  closeGracefully(): void {
    this.#closing = true;
    for (const [socket, tracked] of this.#sockets) if (tracked.active === 0) socket.destroy();
  }

  #awaitHeader(socket: Socket, tracked: Tracked): void {
    clearTimeout(tracked.headerTimer);
    tracked.headerTimer = setTimeout(() => socket.destroy(), this.#limits.headerTimeoutMs);
  }

  /** A body may take as long as it moves: uploads are large. One that is held back by our own slow reader is not at fault. */
  #watchBody(request: IncomingMessage): void {
    if (request.complete) return;
    let seen = request.socket.bytesRead;
    const timer = setInterval(() => {
      const held = request.readableLength >= request.readableHighWaterMark;
      if (request.socket.bytesRead === seen && !held && !request.complete) request.socket.destroy();
      if (request.complete) clearInterval(timer);
      seen = request.socket.bytesRead;
    }, this.#limits.bodyIdleTimeoutMs);
    timer.unref();
    request.once('close', () => clearInterval(timer));
  }
}
