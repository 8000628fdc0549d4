/** One HTTP/2 connection to each other server, kept while it lasts: what is asked of a peer goes over it, however many calls that are. */
import http2, { type ClientHttp2Session } from 'node:http2';
import { delay, unlessAborted } from '../platform/wait.ts';
import type { Logger } from '../telemetry/logger.ts';
import { openPeerLink, type Peer } from './peer-link.ts';

export interface PeerSessionsOptions {
  readonly logger: Logger;
  /** How long a call that was not sent yet waits for a peer to take it, 10 s by default: one may be starting again. */
  readonly patienceMs?: number;
}

const PATIENCE_MS = 10_000;
const PAUSE_MS = 100;
/** A peer whose machine is gone says nothing: it is asked this often whether it is there, and given up when it has not said so until the next time. */
const PING_INTERVAL_MS = 10_000;

const MiB = 1 << 20;
/** What a stream may hold here while its client does not read; enough for full speed between machines of one rack. */
const STREAM_WINDOW = 2 * MiB;
const SESSION_WINDOW = 64 * MiB;

export class PeerSessions {
  readonly #logger: Logger;
  readonly #patienceMs: number;
  readonly #sessions = new Map<string, Promise<ClientHttp2Session>>();
  readonly #closing = new AbortController();

  constructor({ logger, patienceMs = PATIENCE_MS }: PeerSessionsOptions) {
    this.#logger = logger;
    this.#patienceMs = patienceMs;
  }

  /** @throws the signal's reason; the last failure, once its patience is over */
  async get(peer: Peer, signal: AbortSignal): Promise<ClientHttp2Session> {
    const lastTryAt = performance.now() + this.#patienceMs;
    for (;;) {
      try {
        const session = await unlessAborted(this.#session(peer), signal);
        if (!session.closed && !session.destroyed) return session;
      } catch (error) {
        signal.throwIfAborted();
        if (this.#closing.signal.aborted || performance.now() >= lastTryAt) throw error;
      }
      await delay(PAUSE_MS, signal);
    }
  }

  /** Cuts what a peer was asked, which will not answer any more and may not say so. */
  cut(peer: Peer): void {
    const name = nameOf(peer);
    const session = this.#sessions.get(name);
    this.#sessions.delete(name);
    session?.then(
      (open) => open.destroy(),
      () => {},
    );
  }

  /** Cuts all, and opens no other. */
  close(): void {
    this.#closing.abort(new Error('the server is shutting down'));
    for (const session of this.#sessions.values()) {
      session.then(
        (open) => open.destroy(),
        () => {},
      );
    }
    this.#sessions.clear();
  }

  /** The one there is, or is being opened. */
  #session(peer: Peer): Promise<ClientHttp2Session> {
    const name = nameOf(peer);
    const known = this.#sessions.get(name);
    if (known) return known;
    const forget = () => {
      if (this.#sessions.get(name) === opening) this.#sessions.delete(name);
    };
    const opening = this.#open(peer, forget);
    this.#sessions.set(name, opening);
    opening.catch(forget);
    return opening;
  }

  async #open(peer: Peer, forget: () => void): Promise<ClientHttp2Session> {
    const { signal } = this.#closing;
    signal.throwIfAborted();
    const link = await openPeerLink(peer, { protocol: 'h2', allowHalfOpen: false }, signal);
    const session = http2.connect(`https://${peer.host}`, {
      createConnection: () => link,
      maxSessionMemory: 1024,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW },
    });
    session.on('error', (error) =>
      this.#logger.debug({ peer: nameOf(peer), error: error.message }, 'peer.connection-failed'),
    );
    session.once('goaway', forget); // it takes no more calls, and answers those it has
    session.once('close', forget);
    await new Promise<void>((resolve, reject) => {
      session.once('connect', () => resolve());
      session.once('error', reject);
      session.once('close', () => reject(new Error(`${peer.host} has closed the connection`)));
    });
    if (signal.aborted) session.destroy();
    else session.setLocalWindowSize(SESSION_WINDOW);
    keepAsking(session);
    return session;
  }
}

const nameOf = ({ host, port, fingerprint }: Peer): string => `${host} ${port} ${fingerprint}`;

/** Ends the session when the peer does not answer any more. */
function keepAsking(session: ClientHttp2Session): void {
  let heard = true;
  const timer = setInterval(() => {
    if (!heard) return session.destroy(new Error('the peer has stopped answering'));
    heard = false;
    session.ping((error) => {
      heard = error === null;
    });
  }, PING_INTERVAL_MS);
  timer.unref();
  session.once('close', () => clearInterval(timer));
}
