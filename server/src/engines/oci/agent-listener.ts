/**
 * The server's end of a sandbox's socket (agent/PROTOCOL.md, "Who calls whom"): the agent dials and keeps spare connections, `dial` hands them out. Whoever
 * is root in the sandbox can dial as well, so everything is bounded.
 */
import { once } from 'node:events';
import { chmod, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** Connections of one sandbox: each running process has one, plus spares. */
const MAX_CONNECTIONS = 4096;
/** The agent keeps two; a restart of the server may briefly see more. */
const MAX_SPARES = 16;
/** A spare only says HELLO, at most 1 KiB and the frame's header. */
const MAX_SPARE_BYTES = 1024 + 5;

interface Spare {
  readonly socket: Socket;
  readonly received: Buffer[];
}

interface Waiter {
  resolve(socket: Socket): void;
  reject(reason: unknown): void;
}

export class AgentListener {
  readonly #path: string;
  readonly #server: Server;
  readonly #open = new Set<Socket>();
  readonly #first = Promise.withResolvers<void>();
  readonly #spares: Spare[] = [];
  readonly #waiters = new Set<Waiter>();
  #onLost: () => void = () => {};
  #refusal: unknown;

  constructor(path: string) {
    this.#path = path;
    // The bound of what is kept of a connection while nobody reads from it, beyond one read: counted in bytes, which may come one by one.
    this.#server = createServer({ allowHalfOpen: false, highWaterMark: 1 }, (socket) =>
      this.#onConnection(socket),
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** Resolves when the first connection has come; never rejects. */
  get connection(): Promise<void> {
    return this.#first.promise;
  }

  /** Whether any connection of the sandbox is open. */
  get connected(): boolean {
    return this.#open.size > 0;
  }

  /** `handler` is called each time the last open connection has closed. */
  onLost(handler: () => void): void {
    this.#onLost = handler;
  }

  /** Binds the socket, in place of one that an earlier server left. */
  async listen(): Promise<void> {
    await rm(this.#path, { force: true });
    this.#server.listen({ path: this.#path, backlog: 64 });
    await once(this.#server, 'listening');
    await chmod(this.#path, 0o600);
    this.#server.on('error', () => {}); // accept failed (out of descriptors): the agent dials again
  }

  /** A connection on which nothing was read yet; waits for one. @throws the signal's reason, or what `refuse` was given. */
  dial(signal: AbortSignal): Promise<Duplex> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.#refusal !== undefined) return Promise.reject(this.#refusal);
    const spare = this.#spares.shift();
    if (spare) return Promise.resolve(handOut(spare));
    return new Promise((resolve, reject) => {
      const onAbort = () => settle(() => reject(signal.reason));
      const settle = (outcome: () => void) => {
        this.#waiters.delete(waiter);
        signal.removeEventListener('abort', onAbort);
        outcome();
      };
      const waiter: Waiter = {
        resolve: (socket) => settle(() => resolve(socket)),
        reject: (reason) => settle(() => reject(reason)),
      };
      this.#waiters.add(waiter);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** From now on, and for those who wait, `dial` fails with this error. */
  refuse(error: unknown): void {
    this.#refusal ??= error;
    for (const waiter of [...this.#waiters]) waiter.reject(this.#refusal);
  }

  /** Closes the socket, whose file Node removes, and every connection. */
  async close(): Promise<void> {
    this.#onLost = () => {};
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#open) socket.destroy();
    await closed;
  }

  #onConnection(socket: Socket): void {
    this.#open.add(socket);
    this.#first.resolve();
    socket.on('error', () => {}); // 'close' follows and is what counts
    socket.once('close', () => {
      this.#open.delete(socket);
      if (this.#open.size === 0) this.#onLost();
    });
    const [waiter] = this.#waiters;
    if (waiter) {
      waiter.resolve(socket);
      return;
    }
    if (this.#spares.length >= MAX_SPARES) {
      socket.destroy();
      return;
    }
    const spare: Spare = { socket, received: [] };
    this.#spares.push(spare);
    // Reading is what makes a closed connection known.
    socket.on('data', (chunk: Buffer) => {
      spare.received.push(chunk);
      if (spare.received.reduce((sum, part) => sum + part.length, 0) > MAX_SPARE_BYTES) socket.destroy();
    });
    socket.once('close', () => {
      const index = this.#spares.indexOf(spare);
      if (index >= 0) this.#spares.splice(index, 1);
    });
  }
}

/** Puts back what was read, so that the receiver finds an untouched connection. */
function handOut({ socket, received }: Spare): Socket {
  socket.pause();
  socket.removeAllListeners('data');
  if (received.length > 0) socket.unshift(Buffer.concat(received));
  return socket;
}
