/**
 * The way out of a program that has no network but this: a proxy for HTTPS (CONNECT, RFC 9110, 9.3.6) that connects to what may be reached, and to
 * nothing else. It looks names up itself and connects to the address it judged, so that no second answer of a name server, no redirect and no other server
 * that a registry names leads elsewhere.
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { connect, type LookupFunction, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { fromCompileCache } from '../../platform/node-flags.ts';
import { AddressRefused, type RegistryReach } from './registry-reach.ts';

/** A registry that takes longer to accept a connection is out of reach. */
const CONNECT_TIMEOUT_MS = 30_000;

/** The same module in source and in published form. */
const relay = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './gate-relay.ts' : './gate-relay.js', import.meta.url),
);

export class RegistryGate implements AsyncDisposable {
  readonly #directory: string;
  readonly #server: Server;
  readonly #reach: RegistryReach;
  readonly #sockets = new Set<Duplex>();
  #refused: string | undefined;

  static async open(reach: RegistryReach): Promise<RegistryGate> {
    // Sockets have short paths: not every data directory has one.
    const gate = new RegistryGate(await mkdtemp(join(tmpdir(), 'skerry-gate-')), reach);
    gate.#server.listen(gate.socket);
    await once(gate.#server, 'listening');
    return gate;
  }

  private constructor(directory: string, reach: RegistryReach) {
    this.#directory = directory;
    this.#reach = reach;
    this.#server = createServer((_request, response) => {
      this.#refused ??= 'it leads to an address without TLS';
      response.writeHead(403).end();
    });
    this.#server.on('connect', (request, client) => void this.#connect(request.url ?? '', client));
  }

  /** Path of the socket that speaks the proxy's protocol. */
  get socket(): string {
    return join(this.#directory, 's');
  }

  /** Why the first connection was refused; undefined when none was. */
  get refused(): string | undefined {
    return this.#refused;
  }

  /** The command in namespaces of its own in which this gate is all the network there is; everything it started ends with it. */
  behind(argv: readonly [string, ...string[]]): [string, ...string[]] {
    const alone = ['--net', '--pid', '--fork', '--kill-child'];
    return ['unshare', ...alone, '--', process.execPath, fromCompileCache, relay, this.socket, ...argv];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await rm(this.#directory, { recursive: true, force: true });
  }

  /** Never rejects. */
  async #connect(authority: string, client: Duplex): Promise<void> {
    this.#track(client);
    try {
      const { hostname, port } = new URL(`https://${authority}`);
      const addresses = await this.#reach.addresses(hostname);
      const server = await open(hostname, Number(port || 443), addresses);
      this.#track(server);
      client.once('close', () => server.destroy());
      server.once('close', () => client.destroy());
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      client.pipe(server).pipe(client);
    } catch (error) {
      const refused = error instanceof AddressRefused;
      if (refused) this.#refused ??= `it leads to ${error.message}`;
      client.end(`HTTP/1.1 ${refused ? '403 Forbidden' : '502 Bad Gateway'}\r\n\r\n`);
    }
  }

  #track(socket: Duplex): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.#sockets.delete(socket));
  }
}

/** A connection to one of these addresses of the host. */
async function open(
  host: string,
  port: number,
  addresses: Awaited<ReturnType<RegistryReach['addresses']>>,
): Promise<Socket> {
  const lookup: LookupFunction = (_host, _options, callback) => callback(null, [...addresses]);
  const socket = connect({ host, port, lookup, autoSelectFamily: true });
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS) });
    return socket;
  } catch (error) {
    socket.on('error', () => {});
    socket.destroy();
    throw error;
  }
}
