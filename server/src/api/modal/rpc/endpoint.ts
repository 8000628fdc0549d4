/** Takes gRPC and Connect requests off the port, authenticates them by their headers, and gives them to their handler. */
import { Code, ConnectError, type ConnectRouter, createContextValues } from '@connectrpc/connect';
import type { UniversalServerRequest, UniversalServerResponse } from '@connectrpc/connect/protocol';
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from '@connectrpc/connect-node';
import type { Logger } from '../../../telemetry/logger.ts';
import type { AnyRequest, AnyResponse } from '../../../transport/port.ts';
import { pathOf, type RpcRoute } from '../../../transport/routes.ts';
import { ModalClient } from '../gen/modal/service_pb.ts';
import { TaskCommandRouter } from '../gen/modal/task_command_router_pb.ts';
import { type Authenticators, authenticateControlPlane, authenticateRouter, callKey } from './call.ts';
import { unimplemented } from './calls.ts';
import { toConnectError } from './errors.ts';
import type { ForwardedCalls } from './forwarded-calls.ts';
import { reencodeGrpcMessage } from './grpc-message.ts';
import { type GrpcServer, statusTrailers } from './grpc-server.ts';

const CONTROL_PLANE = `/${ModalClient.typeName}/`;
const COMMAND_ROUTER = `/${TaskCommandRouter.typeName}/`;

export interface EndpointOptions extends Authenticators {
  readonly router: ConnectRouter;
  /** Asked first; what it does not take goes to `router`. */
  readonly grpc: GrpcServer;
  /** What other servers answer, if there are others. */
  readonly elsewhere: ForwardedCalls | undefined;
  readonly logger: Logger;
  /** Counts an RPC that does not exist here. */
  readonly onUnknown: (rpc: string) => void;
}

type UniversalHandler = ConnectRouter['handlers'][number];

export function createEndpoint(options: EndpointOptions): RpcRoute {
  const handlers = new Map(options.router.handlers.map((handler) => [handler.requestPath, handler]));
  const anyHandler = firstOf(options.router.handlers);

  return {
    owns: (request) => {
      const { url = '' } = request;
      return (
        url.startsWith(CONTROL_PLANE) ||
        url.startsWith(COMMAND_ROUTER) ||
        request.headers['content-type']?.startsWith('application/grpc') === true
      );
    },
    handle: (request, response) => {
      // An answer that goes out before the whole request was read would leave the client waiting; resetting the stream would lose the trailers.
      response.once('finish', () => request.resume());
      answer(request, response).catch((error: unknown) => {
        options.logger.debug({ path: pathOf(request), error: String(error) }, 'rpc connection ended early');
        response.destroy();
      });
    },
  };

  async function answer(request: AnyRequest, response: AnyResponse): Promise<void> {
    const path = pathOf(request);
    const values = createContextValues();
    let refusal: ConnectError | undefined;
    let body: Uint8Array | undefined;
    try {
      const call = path.startsWith(COMMAND_ROUTER)
        ? await authenticateRouter(request, options)
        : authenticateControlPlane(request, options);
      options.tokens.endWith(call.identity.tokenId, response, () => {
        const ended = tokenEnded();
        if (!options.grpc.end(response, ended) && !options.elsewhere?.end(response, ended))
          response.destroy();
      });
      values.set(callKey, call);
      if (options.grpc.handle(request, response, path, values)) return;
      if (!handlers.has(path)) {
        const rpc = path.slice(path.lastIndexOf('/') + 1, 200);
        options.onUnknown(rpc);
        refusal = unimplemented(rpc);
      } else if (options.elsewhere) {
        const read = await options.elsewhere.tryForward(request, response, path, values);
        if (!read) return;
        body = read.body;
      }
    } catch (error) {
      refusal = toConnectError(error, path, neverAborted, options.logger);
    }
    if (refusal && response.headersSent) return breakOff(request, response, refusal);
    const universal = universalRequestFromNodeRequest(request, response, undefined, values);
    // Every handler words a failure to read its request in the protocol of that request: so a refused body is never read.
    const handler = handlers.get(path) ?? anyHandler;
    const answered = await handler(withBody(universal, refusal ? failing(refusal) : body && pieces(body)));
    await universalResponseToNodeResponse(withPlainMessage(answered), response);
  }
}

const tokenEnded = () =>
  new ConnectError('The token of this call was revoked, or has expired.', Code.Unauthenticated);

/** Connect completes the trailers when the body has ended. */
function withPlainMessage(answer: UniversalServerResponse): UniversalServerResponse {
  const { body, trailer } = answer;
  return body && trailer ? { ...answer, body: then(body, () => reencodeGrpcMessage(trailer)) } : answer;
}

async function* then(body: AsyncIterable<Uint8Array>, afterwards: () => void): AsyncIterable<Uint8Array> {
  yield* body;
  afterwards();
}

const neverAborted = new AbortController().signal;

const withBody = (request: UniversalServerRequest, body: AsyncIterable<Uint8Array> | undefined) =>
  body ? { ...request, body } : request;

async function* pieces(...all: readonly Uint8Array[]): AsyncIterable<Uint8Array> {
  yield* all;
}

/** Ends what another server began to answer: with a status where the protocol has it behind the answer, and else so that nobody takes it for whole. */
function breakOff(request: AnyRequest, response: AnyResponse, error: ConnectError): void {
  if (!/^application\/grpc(?:\+|$)/.test(request.headers['content-type'] ?? ''))
    return void response.destroy();
  response.addTrailers(Object.fromEntries(statusTrailers(error)));
  response.end();
}

async function* failing(error: ConnectError): AsyncIterable<Uint8Array> {
  yield* [];
  throw error;
}

function firstOf(handlers: readonly UniversalHandler[]): UniversalHandler {
  const [first] = handlers;
  if (!first) throw new TypeError('the router has no service');
  return first;
}
