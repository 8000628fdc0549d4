/** A server whose tunnels are reached from another machine, with browsers there. */
import { readFileSync } from 'node:fs';
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

  static async open(): Promise<Browsing> {
    const machine = await startOtherMachine();
    try {
      const flags = ['--tunnel-host', machine.serverAddress];
      return new Browsing(await startServer({ runtime: 'auto', flags }), machine);
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(server: TestServer, machine: OtherMachine) {
    this.server = server;
    this.#machine = machine;
  }

  /** A browser of its own, which trusts the server's certificate. */
  page(): Promise<Page> {
    const certificate = readFileSync(join(this.server.dataDir, 'tls/cert.pem'), 'utf8');
    return startBrowser(browser ?? '', certificate, this.#machine.inside);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.stop();
    await this.#machine[Symbol.asyncDispose]();
  }
}
