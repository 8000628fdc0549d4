/**
 * The port on localhost. Every connection to it gets one of its own to the server, byte for byte: whatever protocol a client speaks, its flow control and
 * the separate ends of both directions go through.
 */
import net, { type Server, type Socket } from 'node:net';
import { ConnectError } from './connect-error.ts';
import { openLink, type Target } from './server-link.ts';

export interface TunnelOptions {
  readonly target: Target;
  /** 0 takes a free one. */
  readonly port: number;
  /** Told when the server cannot be reached, once, and when it can again; never more than a line for each. */
  readonly say: (line: string) => void;
  /** How long a client's connection waits for a server that is away; 60 s by default, as long as clients wait for a first connection. */
  readonly patienceMs?: number;
  /** Connections at once, 1024 by default; more are closed. */
  readonly maxConnections?: number;
}

export interface Tunnel {
  readonly port: number;
  /** Cuts all connections. */
  close(): Promise<void>;
}

const HOST = '127.0.0.1';
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1000;

/** Opens the port. @throws ConnectError when it is in use */
export async function openTunnel(options: TunnelOptions): Promise<Tunnel> {
  const { target, say, patienceMs = 60_000 } = options;
  const closing = new AbortController();
  const sockets = new Set<Socket>();
  let away: string | undefined;

  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  };

  async function carry(client: Socket): Promise<void> {
    keep(client);
    client.on('error', () => client.destroy());
    const gone = new AbortController();
    client.once('close', () => gone.abort());
    const signal = AbortSignal.any([gone.signal, closing.signal]);
    try {
      const link = await untilReached(target, signal, patienceMs);
      if (away !== undefined) say(`The server is reached again.`);
      away = undefined;
      keep(link);
      join(client, link);
    } catch (error) {
      client.destroy();
      if (signal.aborted) return;
      const words = error instanceof ConnectError ? error.message : String(error);
      if (words !== away) say(words);
      away = words;
    }
  }

  // The client's bytes stay unread until there is somewhere to send them.
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (client) => {
    void carry(client);
  });
  server.maxConnections = options.maxConnections ?? 1024;
  await listen(server, options.port);
  const address = server.address();
  if (address === null || typeof address === 'string')
    throw new TypeError('a TCP server has a numeric address');
  return {
    port: address.port,
    async close() {
      closing.abort(new ConnectError('skerry connect ends.'));
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Connects, again and again while the failure is a passing one and patience lasts. */
async function untilReached(target: Target, signal: AbortSignal, patienceMs: number) {
  const deadline = performance.now() + patienceMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    try {
      return await openLink(target, signal);
    } catch (error) {
      const passing = error instanceof ConnectError && error.passing;
      if (!passing || performance.now() + pauseMs >= deadline) throw error;
      await sleep(pauseMs, signal);
    }
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal.addEventListener('abort', stop, { once: true });
  });
}

/** Each direction ends for itself; an error of one connection ends both. */
function join(client: Socket, link: Socket): void {
  for (const [one, other] of [
    [client, link],
    [link, client],
  ] as const) {
    one.on('error', () => one.destroy());
    one.once('close', () => {
      // After both ends of both directions there is nothing left to cut; before, nobody would read what comes.
      if (!one.readableEnded || !one.writableFinished) other.destroy();
    });
    one.pipe(other);
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const inUse = error.code === 'EADDRINUSE';
      const words = inUse
        ? `Port ${port} of this machine is in use.`
        : `Cannot listen on port ${port}: ${error.message}`;
      reject(new ConnectError(`${words} Choose another with --port, or 0 for a free one.`, { cause: error }));
    });
    server.listen({ host: HOST, port, backlog: 512 }, resolve);
  });
}
