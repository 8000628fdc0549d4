/**
 * RPCs that another server answers. They go there as they came, frame by frame, before anything is done for them here but to see who calls and what they are about: scopes, idempotency keys,
 * counts and events are those of the server that answers.
 */
import { type DescMethod, fromBinary, fromJsonString } from '@bufbuild/protobuf';
import { Code, ConnectError, type ContextValues } from '@connectrpc/connect';
import type { Logger } from '../../../telemetry/logger.ts';
import { type Elsewhere, RequestForwarder } from '../../../transport/forward-requests.ts';
import type { Peer } from '../../../transport/peer-link.ts';
import type { AnyRequest, AnyResponse } from '../../../transport/port.ts';
import { aboutOf } from './about.ts';
import { callKey } from './call.ts';
import { toConnectError } from './errors.ts';
import { RunningCalls } from './running-calls.ts';

export interface ForwardedCallsOptions {
  readonly elsewhere: Elsewhere;
  /** By their paths, the RPCs that have a handler in this server. What has none is for whoever answers what is about no sandbox. */
  readonly handled: ReadonlySet<string>;
  /** By their paths, the RPCs of the control plane. */
  readonly controlPlane: ReadonlyMap<string, DescMethod>;
  readonly maxMessageBytes: number;
  readonly logger: Logger;
}

/** How a call that is not of the usual kind goes on here. */
export interface ReadCall {
  /** What was read of it, which is all; undefined when nothing was. */
  readonly body: Uint8Array | undefined;
}

/** Whatever is thrown here is a `ConnectError`. */
export class ForwardedCalls {
  readonly #options: ForwardedCallsOptions;
  readonly #running = new RunningCalls();

  constructor(options: ForwardedCallsOptions) {
    this.#options = options;
  }

  /** For a call of the command router, which is about the sandbox of its token: no message needs to be read for that. @throws ConnectError UNAVAILABLE */
  peerByToken(request: AnyRequest, path: string, values: ContextValues): Peer | undefined {
    const grant = values.get(callKey)?.grant;
    return grant && this.#peerFor(request, path, [grant.sandboxId]);
  }

  /** For a call of the control plane. @throws ConnectError UNAVAILABLE */
  peerByMessage(request: AnyRequest, path: string, values: ContextValues, message: object): Peer | undefined {
    return values.get(callKey)?.grant ? undefined : this.#peerFor(request, path, aboutOf(message));
  }

  /** Resolves when the client has its answer. @param body with its prefix, where it was read */
  async forward(
    request: AnyRequest,
    response: AnyResponse,
    peer: Peer,
    how: Parameters<RequestForwarder['forward']>[3],
  ): Promise<void> {
    try {
      await this.#options.elsewhere.forwarder.forward(request, response, peer, how);
    } catch (error) {
      throw toConnectError(error, rpcOf(request.url ?? ''), how.signal, this.#options.logger);
    }
  }

  /**
   * Has a call answered elsewhere that `GrpcServer` does not take, if it is to be: undefined then, and otherwise what was read of it.
   * @throws ConnectError also in the middle of an answer
   */
  async tryForward(
    request: AnyRequest,
    response: AnyResponse,
    path: string,
    values: ContextValues,
  ): Promise<ReadCall | undefined> {
    const { controller, over } = this.#running.begin(response);
    try {
      const { signal } = controller;
      const byToken = this.peerByToken(request, path, values);
      if (byToken) {
        await this.forward(request, response, byToken, { signal });
        return undefined;
      }
      const method = this.#options.controlPlane.get(path);
      if (!method || request.method !== 'POST') return { body: undefined };
      const body = await this.#readBody(request, signal);
      const message = messageIn(method, request, body);
      const peer = message && this.peerByMessage(request, path, values, message);
      if (!peer) return { body };
      await this.forward(request, response, peer, { body, signal });
      return undefined;
    } finally {
      over();
    }
  }

  /** Ends what `tryForward` has under way with this error. */
  abort(reason: ConnectError): void {
    this.#running.abort(reason);
  }

  /** Ends the call that is answered there with this error; false where none is. */
  end(response: AnyResponse, reason: ConnectError): boolean {
    return this.#running.end(response, reason);
  }

  #peerFor(request: AnyRequest, path: string, about: readonly string[]): Peer | undefined {
    const { elsewhere, handled, logger } = this.#options;
    const rpc = rpcOf(path);
    try {
      const peer = RequestForwarder.peerFor(request, about, rpc, elsewhere);
      if (peer || handled.has(path)) return peer;
      return RequestForwarder.peerFor(request, [], rpc, elsewhere);
    } catch (error) {
      throw toConnectError(error, rpc, neverAborted, logger);
    }
  }

  /** @throws ConnectError for one that is too large; the signal's reason */
  async #readBody(request: AnyRequest, signal: AbortSignal): Promise<Buffer> {
    const { maxMessageBytes } = this.#options;
    const chunks: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of request) {
        size += chunk.length;
        if (size <= maxMessageBytes + PREFIX_BYTES) chunks.push(chunk);
        else chunks.length = 0; // what follows is drained: the status would not arrive else
      }
    } catch (error) {
      throw toConnectError(error, rpcOf(request.url ?? ''), signal, this.#options.logger);
    }
    signal.throwIfAborted();
    if (size > maxMessageBytes + PREFIX_BYTES)
      throw new ConnectError(`The message is larger than ${maxMessageBytes} bytes.`, Code.ResourceExhausted);
    return Buffer.concat(chunks, size);
  }
}

const neverAborted = new AbortController().signal;

/** Of a message in gRPC, gRPC-Web and Connect's streams: one byte of flags, four of length. */
const PREFIX_BYTES = 5;

const rpcOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1, 200);

/** The kinds of bodies that Connect takes, with a prefix or without one, as JSON or not. */
const BODY =
  /^application\/(?:(?<prefixed>grpc-web|grpc|connect)(?:\+(?<form>proto|json))?|(?<plain>proto|json))(?:;|$)/;

/** The message of a call; undefined where that cannot be told, which is then refused as everywhere. */
export function messageIn(
  method: DescMethod,
  { headers }: Pick<AnyRequest, 'headers'>,
  body: Uint8Array,
): object | undefined {
  const { prefixed, form, plain } = BODY.exec(headers['content-type'] ?? '')?.groups ?? {};
  if (!prefixed && !plain) return undefined;
  const message = prefixed ? body.subarray(PREFIX_BYTES) : body;
  try {
    return (form ?? plain) === 'json'
      ? fromJsonString(method.input, Buffer.from(message).toString('utf8'), { ignoreUnknownFields: true })
      : fromBinary(method.input, message);
  } catch {
    return undefined;
  }
}
