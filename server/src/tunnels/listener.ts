/** A TCP port of the machine that strangers connect to. */
import { lookup } from 'node:dns/promises';
import net, { type Socket } from 'node:net';
import { SkerryError } from '../errors/skerry-error.ts';
import { delay } from '../platform/wait.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { KeptPorts } from '../transport/kept-ports.ts';
import type { Capacity } from './capacity.ts';

export interface ListenerOptions {
  /** Address to listen on. */
  readonly host: string;
  readonly port: number;
  readonly capacity: Capacity;
  /** Has the port stay over a restart; undefined where nobody could keep it. */
  readonly kept: KeptPorts | undefined;
  readonly logger: Pick<Logger, 'warn' | 'info'>;
  /** Has each connection there is room for. It half-closes, and what it fails with is dealt with: it is destroyed. */
  readonly onConnection: (socket: Socket) => void;
}

export interface Listener {
  /** Takes no more connections; those there are go on. */
  close(): void;
}

/** How often a port that somebody else has is tried again. */
const RETRY_MS = 500;

/** Listens. @throws SkerryError `unavailable`, with the system's error as its cause */
export async function listen(options: ListenerOptions): Promise<Listener> {
  const server = serverOf(options);
  await bind(server, options);
  return { close: () => giveBack(server, options) };
}

/**
 * Listens on a port whose number clients know already, as soon as nobody else has it. Resolves after the first try, whether it succeeded or not: what is
 * in the way may never go.
 */
export async function listenAgain(options: ListenerOptions): Promise<Listener> {
  const { host, port, logger } = options;
  const closed = new AbortController();
  const server = serverOf(options);
  const attempt = () =>
    bind(server, options).then(
      () => true,
      (error: SkerryError) => {
        logger.warn({ host, port, err: error }, 'tunnel.port-taken');
        return false;
      },
    );
  const goOn = async () => {
    while (!server.listening) {
      await delay(RETRY_MS, closed.signal);
      if (
        await bind(server, options).then(
          () => true,
          () => false,
        )
      )
        logger.info({ host, port }, 'tunnel.port-free');
    }
  };
  if (!(await attempt())) goOn().catch(() => {}); // it was closed
  return {
    close: () => {
      closed.abort();
      giveBack(server, options);
    },
  };
}

function serverOf({ capacity, onConnection }: ListenerOptions): net.Server {
  const server = net.createServer({
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
  });
  server.on('connection', (socket) => {
    socket.on('error', () => socket.destroy());
    const leave = capacity.take();
    if (!leave) {
      socket.resetAndDestroy();
      return;
    }
    socket.once('close', leave);
    onConnection(socket);
  });
  return server;
}

function giveBack(server: net.Server, { port, kept }: ListenerOptions): void {
  if (server.listening) kept?.drop(port);
  server.close();
}

/** Takes the socket that an earlier server had, or one of its own, which is kept for the next. */
async function bind(server: net.Server, options: ListenerOptions): Promise<void> {
  const { host, port, kept } = options;
  const fd = kept?.take(port);
  if (fd !== undefined) {
    await listenOn(server, { fd }, options);
    if (await isAt(server, host)) return;
    await new Promise((resolve) => server.close(resolve)); // tunnels are at another address now
    kept?.drop(port);
  }
  await listenOn(server, { host, port }, options);
  await kept?.keep(port, server);
}

async function isAt(server: net.Server, host: string): Promise<boolean> {
  const [found, at] = [await lookup(host), server.address()];
  return typeof at === 'object' && at?.address === found.address;
}

function listenOn(
  server: net.Server,
  where: net.ListenOptions & { fd?: number },
  { host, port }: ListenerOptions,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (cause: Error) => {
      server.off('listening', onListening);
      const message = `Cannot listen on ${host} port ${port} for tunnels: ${cause.message}. --tunnel-host, --tunnel-ports and --tunnel-port say where they are.`;
      reject(new SkerryError('unavailable', message, { cause }));
    };
    const onListening = () => {
      server.off('error', onError);
      // An accept that fails (no descriptors left) is no reason to end the process.
      server.on('error', () => {});
      resolve();
    };
    server.once('error', onError);
    server.once('listening', onListening);
    server.listen({ ...where, backlog: 1024 });
  });
}
