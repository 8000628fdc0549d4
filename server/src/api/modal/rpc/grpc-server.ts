/**
 * The straight way for what the official clients send most: gRPC over HTTP/2 with one uncompressed request message. An exec is three such calls, and
 * Connect's general machinery takes about twice as long for each (docs/protocol/transport.md). Everything else, and every refusal, goes through
 * Connect; the handlers are the same. Specification: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import {
  create,
  type DescField,
  type DescMethod,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type DescService,
  fromBinary,
  type Message,
  toBinary,
} from '@bufbuild/protobuf';
import { BinaryWriter, configureTextEncoding, getTextEncoding, WireType } from '@bufbuild/protobuf/wire';
import {
  Code,
  ConnectError,
  type ContextValues,
  type HandlerContext,
  type MethodImpl,
  type ServiceImpl,
} from '@connectrpc/connect';
import { parseTimeout, setTrailerStatus } from '@connectrpc/connect/protocol-grpc';
import type { AnyRequest, AnyResponse } from '../../../transport/port.ts';
import { isEncrypted } from '../../../transport/tunnel.ts';
import { ConnectionWindows } from './connection-window.ts';
import type { ForwardedCalls } from './forwarded-calls.ts';
import { reencodeGrpcMessage } from './grpc-message.ts';
import { RunningCalls } from './running-calls.ts';

/** The prefix of a message: one byte of flags (1 = compressed), four of length. */
const PREFIX_BYTES = 5;
/** From this size on, copying a field of bytes costs more than a piece of its own. */
const LONG_BYTES = 16 * 1024;

// For all messages of this process: a TextEncoder, which they have otherwise, takes five times as long for a short text.
configureTextEncoding({ ...getTextEncoding(), encodeUtf8: (text) => Buffer.from(text, 'utf8') });

/** A message, or what `create` makes one of. */
type Item = Record<string, unknown>;
type Answer = (request: Message, context: HandlerContext) => AsyncIterable<Item> | Promise<Item> | Item;

interface Served {
  readonly path: string;
  readonly service: DescService;
  readonly method: DescMethod;
  readonly answer: Answer;
}

export class GrpcServer {
  readonly #served = new Map<string, Served>();
  readonly #running = new RunningCalls();
  readonly #windows = new ConnectionWindows();
  readonly #maxMessageBytes: number;
  readonly #elsewhere: ForwardedCalls | undefined;

  /** @param elsewhere what other servers answer, if there are others */
  constructor(maxMessageBytes: number, elsewhere?: ForwardedCalls) {
    this.#maxMessageBytes = maxMessageBytes;
    this.#elsewhere = elsewhere;
  }

  /** Serves the unary and server-streaming methods of a service. Handlers throw nothing but `ConnectError`. */
  add<Service extends DescService>(service: Service, handlers: ServiceImpl<Service>): void {
    // A type cannot follow a name that is only known at run time; `methodKind` tells the signature.
    const byName = handlers as Record<
      string,
      MethodImpl<DescMethodUnary> & MethodImpl<DescMethodServerStreaming>
    >;
    for (const method of service.methods) {
      const answer = byName[method.localName];
      if (!answer || (method.methodKind !== 'unary' && method.methodKind !== 'server_streaming')) continue;
      const path = pathOfMethod(service, method);
      this.#served.set(path, { path, service, method, answer });
    }
  }

  /** Answers the request if it is of the kind served here; false leaves it untouched. */
  handle(request: AnyRequest, response: AnyResponse, path: string, values: ContextValues): boolean {
    if (!('stream' in request) || !('stream' in response)) return false;
    const { headers, method } = request;
    const type = headers['content-type'];
    if (method !== 'POST' || (type !== 'application/grpc' && type !== 'application/grpc+proto')) return false;
    if (headers['grpc-encoding'] !== undefined && headers['grpc-encoding'] !== 'identity') return false;
    const served = this.#served.get(path);
    if (!served) return false;
    void this.#answer(request, response, served, values);
    return true;
  }

  /** Ends all calls under way with this error. */
  abort(reason: ConnectError): void {
    this.#running.abort(reason);
  }

  /** Ends the call that is answered there with this error; false where none is. */
  end(response: AnyResponse, reason: ConnectError): boolean {
    return this.#running.end(response, reason);
  }

  /** Never rejects: what goes wrong becomes the status of the call, or the call is gone. */
  async #answer(
    request: Http2ServerRequest,
    response: Http2ServerResponse,
    served: Served,
    values: ContextValues,
  ): Promise<void> {
    const { controller, over } = this.#running.begin(response);
    const context = new GrpcContext(request, served, controller.signal, values);
    const timeout = parseTimeout(headerOf(request, 'grpc-timeout') ?? null, Number.MAX_SAFE_INTEGER);
    const deadline = this.#startDeadline(timeout.timeoutMs, controller, context);
    let error: ConnectError | undefined;
    try {
      if (timeout.error) throw timeout.error;
      const message = this.#elsewhere
        ? await this.#messageUnlessForwarded(request, response, served, context, this.#elsewhere)
        : parseMessage(served.method, await this.#readMessage(request, controller.signal));
      if (!message) return; // whoever answered it has ended the answer
      const answer = served.answer(message, context);
      if (served.method.methodKind === 'server_streaming') {
        // Handlers of this kind return iterables.
        for await (const item of answer as AsyncIterable<Item>) {
          await this.#windows.roomForStream(request.stream.session, controller.signal);
          const flushed = send(response, context, encode(served.method, item));
          if (!flushed) await drained(response, controller.signal);
        }
      } else {
        const item = (await answer) as Item; // the other kind of handler: one answer
        controller.signal.throwIfAborted();
        send(response, context, encode(served.method, item));
      }
    } catch (thrown) {
      // Handlers throw ConnectErrors, and so does all around them but a bug.
      error =
        thrown instanceof ConnectError
          ? thrown
          : new ConnectError('Something failed inside Skerry.', Code.Internal);
    } finally {
      clearTimeout(deadline);
      over();
    }
    finish(response, context, error);
  }

  /** Undefined once another server has answered. */
  async #messageUnlessForwarded(
    request: Http2ServerRequest,
    response: Http2ServerResponse,
    { path, method }: Served,
    { signal, values }: GrpcContext,
    elsewhere: ForwardedCalls,
  ): Promise<Message | undefined> {
    const room = () => this.#windows.roomForStream(request.stream.session, signal);
    const how = method.methodKind === 'server_streaming' ? { signal, room } : { signal };
    const byToken = elsewhere.peerByToken(request, path, values);
    if (byToken) {
      await elsewhere.forward(request, response, byToken, how);
      return undefined;
    }
    const body = await this.#readMessage(request, signal);
    const message = parseMessage(method, body);
    const peer = elsewhere.peerByMessage(request, path, values, message);
    if (!peer) return message;
    await elsewhere.forward(request, response, peer, { ...how, body });
    return undefined;
  }

  #startDeadline(
    timeoutMs: number | undefined,
    controller: AbortController,
    context: GrpcContext,
  ): NodeJS.Timeout | undefined {
    if (timeoutMs === undefined) return undefined;
    const endsAt = performance.now() + timeoutMs;
    context.timeoutMs = () => Math.max(0, endsAt - performance.now());
    const expire = () =>
      controller.abort(new ConnectError('The deadline of the call has passed.', Code.DeadlineExceeded));
    // A timer cannot be set for longer; such a call ends with its connection.
    return timeoutMs < 2 ** 31 ? setTimeout(expire, timeoutMs) : undefined;
  }

  /** The one message of a request, with its prefix. @throws ConnectError for none, several, a compressed or an over-large one; the signal's reason */
  #readMessage(request: Http2ServerRequest, signal: AbortSignal): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      let size = 0;
      let checked = false;
      const stop = (error: unknown) => {
        request.off('data', onData);
        request.off('end', onEnd);
        signal.removeEventListener('abort', onAbort);
        reject(error);
      };
      const onAbort = () => stop(signal.reason);
      const onData = (chunk: Buffer) => {
        chunks.push(chunk);
        size += chunk.length;
        if (!checked && size >= PREFIX_BYTES) {
          checked = true;
          const error = this.#checkPrefix(chunks.length === 1 ? chunk : Buffer.concat(chunks));
          if (error) return stop(error);
        }
        if (size > this.#maxMessageBytes + PREFIX_BYTES) stop(tooLarge(this.#maxMessageBytes));
      };
      const onEnd = () => {
        const bytes = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks);
        if (size < PREFIX_BYTES || bytes.readUInt32BE(1) !== size - PREFIX_BYTES) {
          return stop(new ConnectError('The call must hold exactly one message.', Code.Unimplemented));
        }
        signal.removeEventListener('abort', onAbort);
        resolve(bytes);
      };
      if (signal.aborted) return reject(signal.reason);
      signal.addEventListener('abort', onAbort);
      request.on('data', onData);
      request.on('end', onEnd);
    });
  }

  #checkPrefix(bytes: Buffer): ConnectError | undefined {
    if (bytes[0] !== 0) return new ConnectError('Compressed messages are not accepted.', Code.Unimplemented);
    return bytes.readUInt32BE(1) > this.#maxMessageBytes ? tooLarge(this.#maxMessageBytes) : undefined;
  }
}

/** Under which a method is called. */
export const pathOfMethod = (service: DescService, method: DescMethod): string =>
  `/${service.typeName}/${method.name}`;

const tooLarge = (maxBytes: number): ConnectError =>
  new ConnectError(`The message is larger than ${maxBytes} bytes.`, Code.ResourceExhausted);

/** What handlers see of a call. Header objects are made only for those who look. */
class GrpcContext implements HandlerContext {
  readonly service: DescService;
  readonly method: DescMethod;
  readonly signal: AbortSignal;
  readonly values: ContextValues;
  readonly requestMethod = 'POST';
  readonly protocolName = 'grpc';
  timeoutMs: () => number | undefined = () => undefined;
  readonly #request: Http2ServerRequest;
  #requestHeader: Headers | undefined;
  #responseHeader: Headers | undefined;
  #responseTrailer: Headers | undefined;

  constructor(request: Http2ServerRequest, served: Served, signal: AbortSignal, values: ContextValues) {
    this.#request = request;
    this.service = served.service;
    this.method = served.method;
    this.signal = signal;
    this.values = values;
  }

  get url(): string {
    const scheme = isEncrypted(this.#request) ? 'https' : 'http';
    return `${scheme}://${this.#request.authority}${this.#request.url}`;
  }

  get requestHeader(): Headers {
    if (!this.#requestHeader) {
      this.#requestHeader = new Headers();
      for (const [name, value] of Object.entries(this.#request.headers)) {
        if (name.startsWith(':') || value === undefined) continue;
        for (const one of [value].flat()) this.#requestHeader.append(name, one);
      }
    }
    return this.#requestHeader;
  }

  get responseHeader(): Headers {
    this.#responseHeader ??= new Headers();
    return this.#responseHeader;
  }

  get responseTrailer(): Headers {
    this.#responseTrailer ??= new Headers();
    return this.#responseTrailer;
  }

  /** Those a handler set; none were made for it otherwise. */
  get ownHeaders(): Iterable<[string, string]> {
    return this.#responseHeader ?? [];
  }

  get ownTrailers(): Iterable<[string, string]> {
    return this.#responseTrailer ?? [];
  }
}

/** @param bytes with its prefix @throws ConnectError for what is no message of that kind */
function parseMessage(method: DescMethod, bytes: Uint8Array) {
  try {
    return fromBinary(method.input, bytes.subarray(PREFIX_BYTES));
  } catch {
    throw new ConnectError('The request message cannot be parsed.', Code.Internal);
  }
}

/**
 * Prefix and message: in one piece, so that they are one frame where they fit, or with a long field of bytes as a piece of its own behind all others, uncopied
 * (protobuf leaves the order of fields open).
 */
function encode(method: DescMethod, item: Item): readonly Uint8Array[] {
  const long = method.output.fields.find((field) => isLong(field, item[field.localName]));
  if (!long) return [encodeBefore(method, item, new Uint8Array())];
  const bytes = item[long.localName] as Uint8Array;
  const writer = new BinaryWriter().tag(long.number, WireType.LengthDelimited).uint32(bytes.length);
  return [
    encodeBefore(method, { ...item, [long.localName]: undefined }, writer.finish(), bytes.length),
    bytes,
  ];
}

const isLong = (field: DescField, value: unknown): boolean =>
  field.fieldKind === 'scalar' && value instanceof Uint8Array && value.length >= LONG_BYTES;

/** Prefix, message and `end`, with `more` bytes of the message to follow. */
function encodeBefore(method: DescMethod, item: Item, end: Uint8Array, more = 0): Buffer {
  // `create` takes what handlers return, a message or its initialiser.
  const message = toBinary(method.output, create(method.output, item));
  const bytes = Buffer.allocUnsafe(PREFIX_BYTES + message.length + end.length);
  bytes[0] = 0;
  bytes.writeUInt32BE(message.length + end.length + more, 1);
  bytes.set(message, PREFIX_BYTES);
  bytes.set(end, PREFIX_BYTES + message.length);
  return bytes;
}

function begin(response: Http2ServerResponse, context: GrpcContext): void {
  if (response.headersSent) return;
  for (const [name, value] of context.ownHeaders) response.setHeader(name, value);
  response.writeHead(200, { 'content-type': 'application/grpc+proto' });
}

/** False when the caller should wait for `drained`. */
function send(response: Http2ServerResponse, context: GrpcContext, pieces: readonly Uint8Array[]): boolean {
  if (response.destroyed || response.writableEnded) return true;
  begin(response, context);
  const { stream } = response;
  stream.cork();
  let flushed = true;
  for (const piece of pieces) flushed = response.write(piece);
  stream.uncork();
  return flushed;
}

function drained(response: Http2ServerResponse, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const onDrain = () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    };
    const onAbort = () => {
      response.off('drain', onDrain);
      reject(signal.reason);
    };
    response.once('drain', onDrain);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

function finish(response: Http2ServerResponse, context: GrpcContext, error: ConnectError | undefined): void {
  if (response.destroyed || response.writableEnded) return;
  begin(response, context);
  response.addTrailers(Object.fromEntries([...context.ownTrailers, ...statusTrailers(error)]));
  response.end();
}

/** How an answer ends. */
export function statusTrailers(error: ConnectError | undefined): Iterable<readonly [string, string]> {
  if (!error) return [['grpc-status', '0']];
  const trailers = setTrailerStatus(new Headers(), error);
  reencodeGrpcMessage(trailers);
  return trailers;
}

function headerOf(request: Http2ServerRequest, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === 'string' ? value : value?.[0];
}
