/** The HTTP/2 connection to each other server, kept while it lasts: what is asked of a peer goes over it, however many calls that are. */
import http2, {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
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
/** A peer whose machine is gone says nothing: it is asked this often whether it is there, and given up when it has let so many pass. One alone is this server's own pause. */
const PING_INTERVAL_MS = 10_000;
const MAX_UNANSWERED = 2;

const MiB = 1 << 20;
/** What a stream may hold here while its client does not read; enough for full speed between machines of one rack. */
const STREAM_WINDOW = 2 * MiB;
const SESSION_WINDOW = 64 * MiB;

/** Less than what `port.ts` lets a client reset, at once and a second, before it ends the connection. Here the clients of a whole server share one. */
const RESET_BURST = 1_500;
const RESET_RATE = 150;

export class PeerSessions {
  readonly #logger: Logger;
  readonly #patienceMs: number;
  /** Those that calls go to, by peer. */
  readonly #current = new Map<string, Promise<PeerSession>>();
  /** All that are open: those above, and those that only end what they have. */
  readonly #open = new Set<PeerSession>();
  readonly #closing = new AbortController();

  constructor({ logger, patienceMs = PATIENCE_MS }: PeerSessionsOptions) {
    this.#logger = logger;
    this.#patienceMs = patienceMs;
  }

  /**
   * Begins a call.
   * @throws the signal's reason; the last failure, once its patience is over
   */
  async request(
    peer: Peer,
    headers: OutgoingHttpHeaders,
    options: ClientSessionRequestOptions,
    signal: AbortSignal,
  ): Promise<ClientHttp2Stream> {
    const name = nameOf(peer);
    const lastTryAt = performance.now() + this.#patienceMs;
    for (;;) {
      try {
        const opening = this.#session(peer);
        const session = await unlessAborted(opening, signal);
        if (session.takesCalls) return session.request(headers, options);
        session.retire();
        this.#forget(name, opening);
      } catch (error) {
        signal.throwIfAborted();
        if (this.#closing.signal.aborted || performance.now() >= lastTryAt) throw error;
        await delay(PAUSE_MS, signal);
      }
    }
  }

  /** Cuts what a peer was asked, which will not answer any more and may not say so. */
  cut(peer: Peer): void {
    const name = nameOf(peer);
    this.#current.delete(name);
    for (const session of this.#open) if (session.name === name) session.destroy();
  }

  /** Cuts all, and opens no other. */
  close(): void {
    this.#closing.abort(new Error('the server is shutting down'));
    this.#current.clear();
    for (const session of this.#open) session.destroy();
  }

  /** The one there is, or is being opened. */
  #session(peer: Peer): Promise<PeerSession> {
    const name = nameOf(peer);
    const known = this.#current.get(name);
    if (known) return known;
    const opening = this.#openSession(peer);
    this.#current.set(name, opening);
    const forget = () => this.#forget(name, opening);
    opening.then((session) => session.onEnd(forget), forget);
    return opening;
  }

  #forget(name: string, session: Promise<PeerSession>): void {
    if (this.#current.get(name) === session) this.#current.delete(name);
  }

  async #openSession(peer: Peer): Promise<PeerSession> {
    const { signal } = this.#closing;
    signal.throwIfAborted();
    const name = nameOf(peer);
    const link = await openPeerLink(peer, { protocol: 'h2', allowHalfOpen: false }, signal);
    const http = http2.connect(`https://${peer.host}`, {
      createConnection: () => link,
      maxSessionMemory: 1024,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW },
    });
    const session = new PeerSession(name, http);
    this.#open.add(session);
    http.once('close', () => this.#open.delete(session));
    http.on('error', (error) =>
      this.#logger.debug({ peer: name, error: error.message }, 'peer.connection-failed'),
    );
    await new Promise<void>((resolve, reject) => {
      http.once('connect', () => resolve());
      http.once('error', reject);
      http.once('close', () => reject(new Error(`${peer.host} has closed the connection`)));
    });
    http.setLocalWindowSize(SESSION_WINDOW);
    keepAsking(http);
    return session;
  }
}

const nameOf = ({ host, port, fingerprint }: Peer): string => `${host} ${port} ${fingerprint}`;

class PeerSession {
  readonly name: string;
  readonly #http: ClientHttp2Session;
  #streams = 0;
  #retired = false;
  /** How many more streams may be reset. */
  #resets = RESET_BURST;
  #countedAt = performance.now();

  constructor(name: string, http: ClientHttp2Session) {
    this.name = name;
    this.#http = http;
  }

  /** Whether one more call can be begun, which the peer bears to have reset together with all others. */
  get takesCalls(): boolean {
    const now = performance.now();
    this.#resets = Math.min(RESET_BURST, this.#resets + ((now - this.#countedAt) / 1000) * RESET_RATE);
    this.#countedAt = now;
    return !this.#retired && !this.#http.closed && !this.#http.destroyed && this.#streams < this.#resets;
  }

  request(headers: OutgoingHttpHeaders, options: ClientSessionRequestOptions): ClientHttp2Stream {
    const stream = this.#http.request(headers, options);
    this.#streams++;
    stream.on('error', () => {}); // whoever waits for something of it hears of it
    stream.once('close', () => {
      this.#streams--;
      if (stream.rstCode !== http2.constants.NGHTTP2_NO_ERROR) this.#resets--;
      this.#endIfDone();
    });
    return stream;
  }

  /** Called when the peer takes no more calls over it. */
  onEnd(listener: () => void): void {
    this.#http.once('goaway', listener); // it answers those it has
    this.#http.once('close', listener);
    if (this.#http.closed || this.#http.destroyed) listener();
  }

  /** Begins no more calls, and ends with the last that it has. */
  retire(): void {
    this.#retired = true;
    this.#endIfDone();
  }

  destroy(): void {
    this.#http.destroy();
  }

  /** Not before: a peer that is told so refuses calls that it has not looked at yet. */
  #endIfDone(): void {
    if (this.#retired && this.#streams === 0 && !this.#http.destroyed) this.#http.close();
  }
}

/** Ends the session when the peer does not answer any more. */
function keepAsking(session: ClientHttp2Session): void {
  let unanswered = 0;
  const timer = setInterval(() => {
    if (session.destroyed) return;
    if (unanswered >= MAX_UNANSWERED) return session.destroy(new Error('the peer has stopped answering'));
    unanswered++;
    session.ping((error) => {
      if (!error) unanswered = 0;
    });
  }, PING_INTERVAL_MS);
  timer.unref();
  session.once('close', () => clearInterval(timer));
}

/** Those of what a peer answers. @throws when there is no answer */
export const headersOf = (stream: ClientHttp2Stream) =>
  new Promise<IncomingHttpHeaders & { readonly ':status'?: number }>((resolve, reject) => {
    stream.once('response', resolve);
    stream.once('error', reject);
    stream.once('close', () => reject(new Error('there was no answer')));
  });
