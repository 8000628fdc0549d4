/** A server whose tunnels are reached from another machine, with a browser there. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Page } from '@playwright/test';
import { findBrowser, type StartedBrowser, startBrowser } from './browser.ts';
import { type OtherMachine, startOtherMachine } from './other-machine.ts';
import { startServer, type TestServer } from './server.ts';
import { patient } from './slowness.ts';

const program = findBrowser();

/** How long a page may take for what is waited for. */
export const PAGE_MS = patient(120_000);

/** Why there can be none; false when there can. As `skip` of a test. */
export const noBrowsing: string | false =
  program === undefined ? 'no chromium' : process.getuid?.() !== 0 && 'not root';

export class Browsing implements AsyncDisposable {
  readonly server: TestServer;
  readonly #machine: OtherMachine;
  readonly #way: Server;
  readonly #started: StartedBrowser;
  /** Where browsers reach the server's own port. */
  readonly serverUrl: string;

  static async open(): Promise<Browsing> {
    await using failed = new AsyncDisposableStack();
    const machine = failed.use(await startOtherMachine());
    const flags = ['--tunnel-host', machine.serverAddress];
    const server = await startServer({ runtime: 'auto', flags });
    failed.defer(() => server.stop());
    const way = createServer((socket) => {
      const inner = connect(Number(new URL(server.url).port), '127.0.0.1');
      for (const end of [socket, inner]) end.on('error', () => end.destroy());
      socket.pipe(inner).pipe(socket);
    }).listen(0, machine.serverAddress);
    failed.defer(() => void way.close());
    await once(way, 'listening');
    const certificate = readFileSync(join(server.dataDir, 'tls/cert.pem'), 'utf8');
    const started = failed.use(await startBrowser(program ?? '', certificate, machine.inside));
    failed.move();
    return new Browsing(server, machine, way, started);
  }

  private constructor(server: TestServer, machine: OtherMachine, way: Server, started: StartedBrowser) {
    this.server = server;
    this.#machine = machine;
    this.#way = way;
    this.#started = started;
    // Listens on an address and a port, so it has one.
    this.serverUrl = `https://${machine.serverAddress}:${(way.address() as AddressInfo).port}`;
  }

  /** It trusts the server's certificate. */
  get browser(): Browser {
    return this.#started.browser;
  }

  /** A page of somebody who was never there before; goes with the browser. */
  async page(options: BrowserContextOptions = {}): Promise<Page> {
    const page = await this.browser.newPage(options);
    page.setDefaultTimeout(PAGE_MS);
    return page;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#started[Symbol.asyncDispose]();
    this.#way.close();
    await this.server.stop();
    await this.#machine[Symbol.asyncDispose]();
  }
}
