/** A socket that listens, apart from who takes its connections: that may change while it listens, and nobody is refused in between. */
import net, { type Socket } from 'node:net';
import { SkerryError } from '../errors/skerry-error.ts';

export interface ListenerOptions {
  /** Address or name to listen on. */
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** A listening socket that was handed over (systemd, `skerry-supervisor`): taken instead of `host` and `port`. */
  readonly listenFd?: number | undefined;
  /** Connections at once, 8192 by default; more are closed at once. */
  readonly maxConnections?: number | undefined;
}

export interface Listener {
  readonly address: { readonly host: string; readonly port: number };
  /** Gives all connections to `taker` from now on, and first those that came while nobody took any. */
  handTo(taker: (socket: Socket) => void): void;
  /** As if it had just come, with whatever of it is unread. */
  giveBack(socket: Socket): void;
  /** Nobody takes connections until the next `handTo`: they wait. */
  hold(): void;
  /** Takes no new connections; resolves once all are closed. */
  close(): Promise<void>;
}

/**
 * Listens. Nobody takes connections yet.
 * @throws SkerryError `unavailable` when the address is in use or may not be bound, naming what to change
 */
export async function listen(options: ListenerOptions): Promise<Listener> {
  let taker: ((socket: Socket) => void) | undefined;
  const waiting = new Set<Socket>();
  const server = net.createServer({
    ...{ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 },
    allowHalfOpen: true, // where bytes are only passed on, each direction ends for itself
  });
  server.maxConnections = options.maxConnections ?? 8192;
  const give = (socket: Socket) => {
    if (taker) return taker(socket);
    waiting.add(socket);
    socket.once('close', () => waiting.delete(socket));
  };
  server.on('connection', (socket) => {
    socket.on('error', () => socket.destroy()); // a reset by the peer is not an event worth a crash or a log line
    give(socket);
  });
  await bind(server, options);
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new TypeError('a TCP server has a numeric address');
  return {
    address: { host: bound.address, port: bound.port },
    handTo(next) {
      taker = next;
      const come = [...waiting];
      waiting.clear();
      for (const socket of come) next(socket);
    },
    giveBack: give,
    hold() {
      taker = undefined;
    },
    close() {
      for (const socket of waiting) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

function bind(server: net.Server, { host, port, listenFd }: ListenerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)));
    if (listenFd === undefined) server.listen({ host, port, backlog: 1024 }, resolve);
    else server.listen({ fd: listenFd }, resolve);
  });
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): SkerryError {
  const fail = (message: string) => new SkerryError('unavailable', message, { cause: error });
  switch (error.code) {
    case 'EADDRINUSE':
      return fail(`Port ${port} on ${host} is in use. Stop what uses it, or choose another with --port.`);
    case 'EACCES':
      return fail(`Port ${port} needs more rights than this user has. Choose one above 1023 with --port.`);
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return fail(`${host} is no address of this machine. Choose another with --host.`);
    default:
      return fail(`Cannot listen on ${host} port ${port}: ${error.message}`);
  }
}
