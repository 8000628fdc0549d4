/**
 * Has another server answer what comes to this one: byte for byte, whatever a client speaks. What clients say without TLS goes through one between the
 * servers, as `skerry connect` carries it (`tunnel.ts`).
 */
import type { Socket } from 'node:net';
import { pipeline } from 'node:stream';
import { delay } from '../platform/wait.ts';
import type { Logger } from '../telemetry/logger.ts';
import { sniff } from './first-bytes.ts';
import type { Listener } from './listener.ts';
import { isSamePeer, openPeerLink, type Peer } from './peer-link.ts';
import { maySpeak, type PlaintextFrom, refusePlaintext } from './plaintext.ts';
import { TUNNEL_PROTOCOL } from './tunnel.ts';

export interface ForwardOptions {
  readonly listener: Listener;
  readonly plaintextFrom: PlaintextFrom;
  /** Whose turn it is to answer; undefined while that is nobody's. */
  readonly peer: () => Peer | undefined;
  readonly logger: Logger;
  /** How long a new connection may stay silent, 10 s by default. */
  readonly firstBytesTimeoutMs?: number;
  /** How long a connection waits for a server to answer it, 60 s by default, as long as clients wait for a first one. */
  readonly patienceMs?: number;
}

export interface Forwarding {
  /** Cuts what goes to any other server than the one whose turn it is: that one will not answer any more, and may not say so. */
  cutOthers(): void;
  /** Forwards no more, and cuts what it did; who has not been answered yet waits for who takes it next. */
  stop(): void;
}

const FIRST_BYTES_TIMEOUT_MS = 10_000;
const PATIENCE_MS = 60_000;
const PAUSE_MS = 100;

/** Forwards what comes from now on. */
export function forwardConnections(options: ForwardOptions): Forwarding {
  const { listener, plaintextFrom, peer, logger } = options;
  const stopping = new AbortController();
  /** Each with where its bytes go, as soon as that is known. */
  const clients = new Map<Socket, Peer | undefined>();

  async function forward(client: Socket): Promise<void> {
    const gone = new AbortController();
    client.once('close', () => gone.abort());
    const patience = AbortSignal.timeout(options.patienceMs ?? PATIENCE_MS);
    try {
      const signal = AbortSignal.any([gone.signal, stopping.signal, patience]);
      const { link, to } = await untilReached(peer, signal);
      clients.set(client, to);
      pipeline(client, link, client, () => {}); // either end's failure ends both, and nobody is left to be told
    } catch (err) {
      if (gone.signal.aborted) return;
      if (stopping.signal.aborted) return listener.giveBack(client);
      logger.warn({ err }, 'standby.nobody-answers');
      client.destroy();
    }
  }

  listener.handTo((client) => {
    clients.set(client, undefined);
    client.once('close', () => clients.delete(client));
    sniff(client, options.firstBytesTimeoutMs ?? FIRST_BYTES_TIMEOUT_MS, (protocol) => {
      if (maySpeak(client, protocol, plaintextFrom)) return void forward(client);
      logger.info({ remote: client.remoteAddress, protocol }, 'plaintext connection refused');
      refusePlaintext(client, protocol);
    });
  });

  return {
    cutOthers() {
      const now = peer();
      for (const [client, to] of clients) if (to && !isSamePeer(to, now)) client.destroy();
    },
    stop() {
      listener.hold();
      stopping.abort();
      for (const [client, to] of clients) if (to) client.destroy();
    },
  };
}

/** Again and again, since one that takes over needs a moment. @throws the last failure, once the signal is aborted */
async function untilReached(peer: () => Peer | undefined, signal: AbortSignal) {
  let failure: unknown = new Error('no server leads');
  for (;;) {
    const to = peer();
    try {
      if (to)
        return {
          to,
          link: await openPeerLink(to, { protocol: TUNNEL_PROTOCOL, allowHalfOpen: true }, signal),
        };
    } catch (error) {
      failure = error;
    }
    await delay(PAUSE_MS, signal).catch(() => {
      throw failure;
    });
  }
}
