/**
 * Has another server answer a request: what the client sends goes there as it comes, and what is answered comes back so, whatever the two speak. Unlike `forward-connections.ts` this
 * decides for each request, and each is known to the other server as the client's.
 */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import {
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import type { Writable } from 'node:stream';
import { SkerryError } from '../errors/skerry-error.ts';
import {
  FORWARDED,
  forwardedHeader,
  forwardedOf,
  KEY_BYTES,
  recognizeForwarded,
  WHOLE,
} from './forwarded.ts';
import type { Peer } from './peer-link.ts';
import { headersOf, PeerSessions, type PeerSessionsOptions } from './peer-sessions.ts';
import type { AnyRequest, AnyResponse } from './port.ts';
import { isEncrypted } from './tunnel.ts';

/** Which server answers what. */
export interface Elsewhere {
  /**
   * Who answers a call about these; undefined when this server does. It is asked for every call, before anything else that the call does.
   * @param about ids of sandboxes and tasks, and from paths whatever stands there for one; none for what is about no sandbox
   * @param call name of the RPC, or method and path
   */
  peerOf(about: readonly string[], call: string): Peer | undefined;
  readonly forwarder: RequestForwarder;
}

export interface ForwarderOptions extends PeerSessionsOptions {
  /** 32 bytes that all servers of one database have, and nobody else. */
  readonly key: Uint8Array;
}

export interface ForwardRequest {
  /** What was read of the request already, which is then all of it. */
  readonly body?: Uint8Array;
  /** Aborted when the client is gone, or the call is to end. */
  readonly signal: AbortSignal;
  /** Waits until more of the answer may be written, some 256 KiB. */
  readonly room?: () => Promise<void>;
}

export class RequestForwarder {
  readonly #key: Uint8Array;
  readonly #sessions: PeerSessions;

  /** @throws TypeError for a key of another length */
  constructor(options: ForwarderOptions) {
    if (options.key.length !== KEY_BYTES) throw new TypeError(`the key has ${options.key.length} bytes`);
    this.#key = options.key;
    this.#sessions = new PeerSessions(options);
  }

  /** Must see every request before its handlers do: one that another server forwarded is known as such from then on (`forwardedOf`, `isEncrypted`). */
  receive(request: AnyRequest, response: AnyResponse): void {
    recognizeForwarded(request, response, this.#key);
  }

  /**
   * Who answers, other than this server, and may be asked.
   * @throws SkerryError `unavailable` for what another server has this one answer, which would have a third one do so: the two do not agree yet
   */
  static peerFor(
    request: AnyRequest,
    about: readonly string[],
    call: string,
    elsewhere: Elsewhere,
  ): Peer | undefined {
    const peer = elsewhere.peerOf(about, call);
    if (peer && forwardedOf(request)) {
      throw new SkerryError('unavailable', 'Another server of Skerry has just begun to answer this.');
    }
    return peer;
  }

  /**
   * Resolves when the client has its answer.
   * @throws the signal's reason; SkerryError `unavailable` when the peer could not be asked, or broke off: if nothing was answered yet (`headersSent`), that is left to the caller
   */
  async forward(
    request: AnyRequest,
    response: AnyResponse,
    peer: Peer,
    { body, signal, room }: ForwardRequest,
  ): Promise<void> {
    let stream: ClientHttp2Stream | undefined;
    const cancel = () => {
      stream?.close(constants.NGHTTP2_CANCEL);
      stream?.destroy(); // else it would wait for somebody to read what has come
    };
    signal.addEventListener('abort', cancel, { once: true });
    try {
      const endStream = body === undefined && hasNoBody(request);
      stream = await this.#sessions.request(peer, this.#headersFor(request), { endStream }, signal);
      signal.throwIfAborted();
      if (body) stream.end(body);
      else if (!endStream) request.pipe(stream as Writable); // the types of the two kinds of requests make one overload of none
      await relay(stream, response, signal, room);
    } catch (error) {
      signal.throwIfAborted();
      throw new SkerryError('unavailable', 'The server of Skerry that answers this cannot be reached.', {
        cause: error,
      });
    } finally {
      signal.removeEventListener('abort', cancel);
      if (stream && !body) request.unpipe(stream as Writable); // as above
      if (stream && !(stream.writableFinished && stream.readableEnded)) cancel();
      request.resume(); // what still comes would keep the client from reading its answer
    }
  }

  /** Cuts what a peer was asked, which will not answer any more and may not say so. */
  cut(peer: Peer): void {
    this.#sessions.cut(peer);
  }

  /** Cuts all. */
  close(): void {
    this.#sessions.close();
  }

  #headersFor(request: AnyRequest): OutgoingHttpHeaders {
    const { headers, method = 'GET', url = '/' } = request;
    return {
      ...inUtf8(endToEnd(headers)),
      // Of HTTP/2 the two may differ, and handlers look at both.
      ...(request.httpVersionMajor === 1 && { host: undefined }),
      expect: undefined, // answered already
      te: headers.te === 'trailers' ? 'trailers' : undefined,
      [FORWARDED]: forwardedHeader(this.#key, { encrypted: isEncrypted(request) }),
      ':method': method,
      ':path': url,
      ':scheme': 'https',
      ':authority': authorityOf(request),
    };
  }
}

/**
 * Names and addresses with an optional port. HTTP/1.1 takes any text; a peer's HTTP/2 takes it for a fault of this server's, and ends the connection of all its clients when that is
 * repeated.
 */
const AUTHORITY = /^(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:\d{1,5})?$/;

/** What the client dialled; one that does not say so has dialled the address that it reached. */
function authorityOf({ headers, socket }: AnyRequest): string {
  const said = headers[':authority'] ?? headers.host;
  if (typeof said === 'string' && AUTHORITY.test(said)) return said;
  const { localAddress = '127.0.0.1', localPort = 0 } = socket;
  return `${localAddress.includes(':') ? `[${localAddress}]` : localAddress}:${localPort}`;
}

/** Headers of one connection (RFC 9110, section 7.6.1; RFC 9113, section 8.2.2). */
const OF_CONNECTION: ReadonlySet<string> = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);

function endToEnd(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  const named = headers.connection?.toLowerCase().split(/\s*,\s*/) ?? [];
  return Object.fromEntries(
    Object.entries(headers).filter(
      ([name]) => !name.startsWith(':') && !OF_CONNECTION.has(name) && !named.includes(name),
    ),
  );
}

/** Node reads the bytes of a header as Latin-1, and writes those of HTTP/2 as UTF-8: so they come out as they came in, if they are UTF-8. */
function inUtf8(headers: OutgoingHttpHeaders): OutgoingHttpHeaders {
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value === 'string' && /[\x80-\xff]/.test(value))
      headers[name] = Buffer.from(value, 'latin1').toString('utf8');
  }
  return headers;
}

/** Whether its header says that nothing follows: then the peer is told so as well. */
const hasNoBody = (request: AnyRequest): boolean =>
  'stream' in request
    ? request.stream.endAfterHeaders
    : request.headers['transfer-encoding'] === undefined && !request.headers['content-length'];

/** How much is written before it is asked again whether there is room. */
const ROOM_BYTES = 256 << 10;

/** How much may wait to be sent: to wait for each piece of 16 KiB, as large as they come, takes longer than all else. */
const PENDING_BYTES = 256 << 10;

/** @throws when the answer breaks off, or the client does not take it any more */
async function relay(
  stream: ClientHttp2Stream,
  response: AnyResponse,
  signal: AbortSignal,
  room: ForwardRequest['room'],
): Promise<void> {
  let trailers: IncomingHttpHeaders = {};
  stream.once('trailers', (received) => {
    trailers = received;
  });
  const headers = await headersOf(stream);
  signal.throwIfAborted();
  const answer = response as ServerResponse; // Node's compatibility API for HTTP/2 has all of what is used here
  const given = endToEnd(headers);
  answer.writeHead(headers[':status'] ?? 502, 'stream' in response ? inUtf8(given) : given);
  answer.flushHeaders();
  let untilRoom = 0;
  for await (const chunk of stream) {
    if (untilRoom <= 0) {
      await room?.();
      untilRoom = ROOM_BYTES;
    }
    untilRoom -= chunk.length;
    if (!answer.write(chunk) && answer.writableLength >= PENDING_BYTES)
      await once(answer, 'drain', { signal });
  }
  const { [WHOLE]: whole, ...rest } = trailers;
  if (whole === undefined && !stream.endAfterHeaders) throw new Error('the answer broke off');
  if (Object.keys(rest).length > 0) answer.addTrailers(rest as Record<string, string>); // as they came
  answer.end();
}
