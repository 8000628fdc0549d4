/** The way of connections into one port of one sandbox, whichever listener they came by. */
import type { Socket } from 'node:net';
import type { Sandbox } from '../sandboxes/sandboxes.ts';
import { Dialer } from './dialer.ts';
import { refusalOf, refuse } from './refusal.ts';
import { cut, splice } from './splice.ts';

/** Who has the connections that come to a listener. `Entrance` is one; another is whatever looks at requests before it lets them pass. */
export interface Receiver {
  /** Whether clients may agree on HTTP/2. */
  readonly http2: boolean;
  /** Gives a connection a place, or cuts it off: false. Called once for each. */
  admit(client: Socket): boolean;
  /** Has a connection that was admitted, or the TLS on it. */
  serve(client: Socket): void;
}

export interface EntranceOptions {
  readonly http2: boolean;
  readonly sandbox: Pick<Sandbox, 'connect'>;
  /** The port in the sandbox. */
  readonly port: number;
  /** How long a connection waits for its server to listen. */
  readonly waitMs: number;
  /** How long it may carry nothing, in either direction. */
  readonly idleMs: number;
  /** Whether connections from an address, of either family, are taken. */
  readonly mayEnter: (address: string) => boolean;
}

/** At once, in one tunnel: as many as the agent of a sandbox takes. */
export const MOST_CONNECTIONS = 512;

export class Entrance implements Receiver {
  readonly #options: EntranceOptions;
  readonly #dialer: Dialer;
  readonly #clients = new Set<Socket>();
  #closed = false;

  constructor(options: EntranceOptions) {
    this.#options = options;
    this.#dialer = new Dialer(options.sandbox, options.port, options.waitMs);
  }

  /** Connections at this moment, those in their handshake too. */
  get size(): number {
    return this.#clients.size;
  }

  get http2(): boolean {
    return this.#options.http2;
  }

  admit(client: Socket): boolean {
    const address = client.remoteAddress?.replace(/^::ffff:/, '');
    const enters =
      !this.#closed &&
      this.#clients.size < MOST_CONNECTIONS &&
      address !== undefined &&
      this.#options.mayEnter(address);
    if (!enters) {
      cut(client);
      return false;
    }
    this.#clients.add(client);
    client.once('close', () => this.#clients.delete(client));
    return true;
  }

  /** Joins it with the server in the sandbox; tells it why when there is none. */
  serve(client: Socket): void {
    this.#join(client).catch(() => cut(client));
  }

  /** Cuts off everybody. */
  close(): void {
    this.#closed = true;
    for (const client of this.#clients) cut(client);
  }

  async #join(client: Socket): Promise<void> {
    const gone = new AbortController();
    client.once('close', () => gone.abort());
    const server = await this.#dialer.dial(gone.signal).catch((error: unknown) => {
      if (!client.destroyed) refuse(client, refusalOf(error));
    });
    if (!server) return;
    if (client.destroyed) return void server.destroy();
    client.setTimeout(this.#options.idleMs, () => cut(client));
    splice(client, server);
  }
}
