/** One port for the tunnels of a domain: which one a connection is for says the name in its TLS handshake (SNI, RFC 6066 section 3). */
import { randomBytes } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { Logger } from '../telemetry/logger.ts';
import type { Capacity } from './capacity.ts';
import type { Receiver } from './entrance.ts';
import { type Listener, type ListenerOptions, listen } from './listener.ts';
import { NO_SUCH_TUNNEL, refuse } from './refusal.ts';
import { createTlsDoor, type TlsDoor, type TlsFiles } from './tls-door.ts';
import type { Endpoint } from './tunnels.ts';

export interface DomainGateOptions {
  readonly domain: string;
  /** Address to listen on. */
  readonly host: string;
  readonly port: number;
  /** The one that clients are told. */
  readonly publicPort: number;
  /** For every name directly below the domain. */
  readonly tls: TlsFiles;
  readonly capacity: Capacity;
  readonly kept: ListenerOptions['kept'];
  readonly logger: Logger;
}

/** 160 bits of randomness as letters and digits that a host name may have. */
export const newName = (): string => {
  const digits = 'abcdefghijklmnopqrstuvwxyz234567';
  return Array.from(randomBytes(32), (byte) => digits[byte % digits.length]).join('');
};

export class DomainGate {
  readonly #options: DomainGateOptions;
  readonly #receivers = new Map<string, Receiver>();
  readonly #door: TlsDoor;
  #listener: Listener | undefined;

  constructor(options: DomainGateOptions) {
    this.#options = options;
    this.#door = createTlsDoor({
      tls: options.tls,
      speaksHttp2: (name) => this.#receiverOf(name)?.http2 ?? false,
      onSecure: (client) => this.#onSecure(client),
      logger: options.logger,
    });
  }

  /** Listens. @throws SkerryError `unavailable` when the port cannot be had */
  async open(): Promise<void> {
    this.#listener = await listen({ ...this.#options, onConnection: this.#door.take });
  }

  /** Has the connections for a name go to a receiver until the returned function is called. */
  add(name: string, receiver: Receiver): () => void {
    this.#receivers.set(name, receiver);
    return () => this.#receivers.delete(name);
  }

  endpoint(name: string): Endpoint {
    return { host: `${name}.${this.#options.domain}`, port: this.#options.publicPort };
  }

  useCertificate(tls: TlsFiles): void {
    this.#door.useCertificate(tls);
  }

  close(): void {
    this.#listener?.close();
  }

  #receiverOf(serverName: string | undefined): Receiver | undefined {
    const suffix = `.${this.#options.domain}`;
    const name = serverName?.toLowerCase();
    return name?.endsWith(suffix) ? this.#receivers.get(name.slice(0, -suffix.length)) : undefined;
  }

  #onSecure(client: TLSSocket): void {
    // Typed without false, which Node gives for a client that named none.
    const name: unknown = client.servername;
    const receiver = this.#receiverOf(typeof name === 'string' ? name : undefined);
    if (!receiver) refuse(client, NO_SUCH_TUNNEL);
    else if (receiver.admit(client)) receiver.serve(client);
  }
}
