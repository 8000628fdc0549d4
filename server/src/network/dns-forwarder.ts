/**
 * The sandboxes' resolver: passes DNS messages (RFC 1035) on to other servers, over UDP and TCP. It rewrites nothing, so it reads no more than the
 * 12-byte header. Everything is bounded, since both sides are untrusted, and shared so that no sandboxes together take it from another one; beyond a bound
 * a question is dropped, and clients ask again.
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createConnection, createServer, isIPv6, type Server, type Socket } from 'node:net';
import { SkerryError } from '../errors/skerry-error.ts';
import type { Logger } from '../telemetry/logger.ts';
import { FairShare, type Shares } from './fair-share.ts';

export interface DnsForwarderOptions {
  readonly address: string;
  /** 53 except in tests; 0 takes a free one (then the same number serves both protocols only by `udpPort` and `tcpPort`). */
  readonly port: number;
  /** Servers to ask, in order: the next one when one does not answer. */
  readonly upstreams: readonly { readonly address: string; readonly port: number }[];
  readonly logger: Logger;
  /** How long one server may take, 3 s by default. */
  readonly timeoutMs?: number;
  /** Others than the usual bounds, for tests. */
  readonly bounds?: Partial<DnsBounds>;
}

export interface DnsBounds {
  /** Questions over UDP that were not answered yet. */
  readonly pending: Shares;
  readonly connections: Shares;
  /** How long nothing may come over a TCP connection. */
  readonly idleMs: number;
  /** How long one may last, whatever comes over it: resolver libraries ask and leave, and others connect anew (RFC 7766, 6.2.1). */
  readonly connectionMs: number;
}

const HEADER_BYTES = 12;
/** EDNS (RFC 6891) questions are far below this; larger ones are nothing a resolver library sends. */
const MAX_QUESTION_BYTES = 4096;
const BOUNDS: DnsBounds = {
  pending: { total: 512, perClient: 64 },
  connections: { total: 256, perClient: 16 },
  idleMs: 10_000,
  connectionMs: 60_000,
};

/** Sets QR and RCODE=2 (SERVFAIL) in a copy of the question: the answer when no server answers. */
function serverFailure(question: Buffer): Buffer {
  const answer = Buffer.from(question);
  answer.writeUInt8((answer.readUInt8(2) | 0x80) & 0xff, 2);
  answer.writeUInt8(0x82, 3);
  return answer;
}

export class DnsForwarder {
  readonly #options: DnsForwarderOptions;
  readonly #udp: UdpSocket = createSocket('udp4');
  readonly #tcp: Server;
  readonly #bounds: DnsBounds;
  readonly #pending: FairShare;
  readonly #clients: FairShare;
  readonly #connections = new Set<Socket>();
  #closed = false;

  constructor(options: DnsForwarderOptions) {
    this.#options = options;
    this.#bounds = { ...BOUNDS, ...options.bounds };
    this.#pending = new FairShare(this.#bounds.pending);
    this.#clients = new FairShare(this.#bounds.connections);
    this.#udp.on('message', (question, client) => void this.#onQuestion(question, client));
    this.#tcp = createServer((socket) => this.#onConnection(socket));
  }

  get udpPort(): number {
    return this.#udp.address().port;
  }

  get tcpPort(): number {
    const address = this.#tcp.address();
    return typeof address === 'object' && address ? address.port : 0;
  }

  /** @throws SkerryError `unavailable` when the address cannot be bound. */
  async open(): Promise<void> {
    const { address, port, logger } = this.#options;
    try {
      this.#udp.bind({ address, port, exclusive: true });
      await once(this.#udp, 'listening');
      this.#tcp.listen({ host: address, port, exclusive: true });
      await once(this.#tcp, 'listening');
    } catch (error) {
      await this.close();
      throw new SkerryError(
        'unavailable',
        `The sandboxes' resolver cannot listen on ${address}:${port}. Stop the DNS server that listens on all addresses of this machine, or bind it to its own.`,
        { cause: error },
      );
    }
    for (const server of [this.#udp, this.#tcp]) {
      server.on('error', (error: Error) => logger.warn({ error: error.message }, 'dns.socket-error'));
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const socket of this.#connections) socket.destroy();
    await new Promise<void>((resolve) => this.#tcp.close(() => resolve()));
    await new Promise<void>((resolve) => {
      try {
        this.#udp.close(resolve);
      } catch {
        resolve(); // it was never bound
      }
    });
  }

  async #onQuestion(question: Buffer, client: RemoteInfo): Promise<void> {
    // Port 0 is what only a forged packet has: nothing can be sent there.
    if (client.port === 0 || question.length < HEADER_BYTES || question.length > MAX_QUESTION_BYTES) return;
    const dropped = new AbortController();
    const done = this.#pending.take(client.address, () => dropped.abort());
    if (!done) return;
    try {
      const answer = (await this.#ask(question, dropped.signal)) ?? serverFailure(question);
      if (this.#closed || dropped.signal.aborted) return;
      this.#udp.send(answer, client.port, client.address, () => {});
    } finally {
      done();
    }
  }

  async #ask(question: Buffer, dropped: AbortSignal): Promise<Buffer | undefined> {
    for (const upstream of this.#options.upstreams) {
      const answer = await this.#askOne(question, upstream.address, upstream.port, dropped);
      if (answer || this.#closed || dropped.aborted) return answer;
    }
    return undefined;
  }

  /** One socket per question: its random source port and the kernel's check of the sender make answers hard to forge. */
  #askOne(
    question: Buffer,
    address: string,
    port: number,
    dropped: AbortSignal,
  ): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
      let finished = false;
      const finish = (answer?: Buffer) => {
        if (finished) return; // a socket cannot be closed twice
        finished = true;
        clearTimeout(timer);
        socket.removeAllListeners();
        socket.on('error', () => {});
        socket.close();
        resolve(answer);
      };
      const timer = setTimeout(() => finish(), this.#options.timeoutMs ?? 3000);
      dropped.addEventListener('abort', () => finish(), { once: true });
      socket.on('error', () => finish());
      socket.on('message', (answer) => {
        if (answer.length >= HEADER_BYTES && answer.readUInt16BE(0) === question.readUInt16BE(0))
          finish(answer);
      });
      // Node calls back on failure too (no route to an IPv6 server, say), and sending would throw then.
      socket.connect(port, address, (error?: Error) => (error ? finish() : socket.send(question, () => {})));
    });
  }

  /** TCP is only joined to the first upstream that accepts: both sides frame by themselves (RFC 7766). */
  #onConnection(client: Socket): void {
    this.#track(client);
    const done = this.#clients.take(client.remoteAddress ?? '', () => client.destroy());
    if (!done) return void client.destroy();
    const age = setTimeout(() => client.destroy(), this.#bounds.connectionMs);
    client.once('close', () => {
      clearTimeout(age);
      done();
    });
    const join = (index: number) => {
      const upstream = this.#options.upstreams[index];
      if (!upstream || client.destroyed) return void client.destroy();
      const server = createConnection({ host: upstream.address, port: upstream.port });
      this.#track(server);
      const leave = () => server.destroy();
      client.once('close', leave);
      let connected = false;
      server.once('connect', () => {
        connected = true;
        client.pipe(server).pipe(client);
      });
      server.once('close', () => {
        client.off('close', leave);
        if (connected) client.destroy();
        else join(index + 1);
      });
    };
    join(0);
  }

  /** Ends it, whichever side fails or falls silent. */
  #track(socket: Socket): void {
    this.#connections.add(socket);
    socket.setTimeout(this.#bounds.idleMs, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.#connections.delete(socket));
  }
}
