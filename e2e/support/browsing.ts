/** A server whose tunnels are reached from another machine, with browsers there. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { findBrowser, type Page, startBrowser } from './browser.ts';
import { type OtherMachine, startOtherMachine } from './other-machine.ts';
import { startServer, type TestServer } from './server.ts';

const browser = findBrowser();

/** Why there can be none; false when there can. As `skip` of a test. */
export const noBrowsing: string | false =
  browser === undefined ? 'no chromium' : process.getuid?.() !== 0 && 'not root';

export class Browsing implements AsyncDisposable {
  readonly server: TestServer;
  readonly #machine: OtherMachine;
  readonly #way: Server;
  /** Where browsers reach the server's own port. */
  readonly serverUrl: string;

  static async open(): Promise<Browsing> {
    const machine = await startOtherMachine();
    try {
      const flags = ['--tunnel-host', machine.serverAddress];
      const server = await startServer({ runtime: 'auto', flags });
      const way = createServer((socket) => {
        const inner = connect(Number(new URL(server.url).port), '127.0.0.1');
        for (const end of [socket, inner]) end.on('error', () => end.destroy());
        socket.pipe(inner).pipe(socket);
      }).listen(0, machine.serverAddress);
      await once(way, 'listening');
      return new Browsing(server, machine, way);
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(server: TestServer, machine: OtherMachine, way: Server) {
    this.server = server;
    this.#machine = machine;
    this.#way = way;
    // Listens on an address and a port, so it has one.
    this.serverUrl = `https://${machine.serverAddress}:${(way.address() as AddressInfo).port}`;
  }

  /** A browser of its own, which trusts the server's certificate. */
  page(): Promise<Page> {
    const certificate = readFileSync(join(this.server.dataDir, 'tls/cert.pem'), 'utf8');
    return startBrowser(browser ?? '', certificate, this.#machine.inside);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#way.close();
    await this.server.stop();
    await this.#machine[Symbol.asyncDispose]();
  }
}
