/** Serves the two services of the wire from handlers: authentication, idempotency, errors and unknown RPCs are dealt with here, once for all. */
import type { DescService } from '@bufbuild/protobuf';
import { Code, ConnectError, createConnectRouter, type ServiceImpl } from '@connectrpc/connect';
import type { AccessTokens } from '../../../auth/access-tokens.ts';
import type { TokenStore } from '../../../auth/token-store.ts';
import type { CallListener } from '../../../telemetry/calls.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import type { Tracing } from '../../../telemetry/tracing.ts';
import type { Elsewhere } from '../../../transport/forward-requests.ts';
import type { RpcRoute } from '../../../transport/routes.ts';
import { ModalClient } from '../gen/modal/service_pb.ts';
import { TaskCommandRouter } from '../gen/modal/task_command_router_pb.ts';
import { surround, unimplemented } from './calls.ts';
import { createEndpoint } from './endpoint.ts';
import { ForwardedCalls } from './forwarded-calls.ts';
import { GrpcServer, pathOfMethod } from './grpc-server.ts';
import type { Idempotency } from './idempotency.ts';
import { UnknownRpcs } from './unknown-rpcs.ts';

export type ModalHandlers = Partial<ServiceImpl<typeof ModalClient>>;

export type RouterHandlers = Partial<ServiceImpl<typeof TaskCommandRouter>>;

export interface ServiceOptions {
  /** Handlers by resource. No RPC may be in two of them. */
  readonly controlPlane: readonly ModalHandlers[];
  readonly commandRouter: RouterHandlers;
  readonly tokens: TokenStore;
  readonly accessTokens: AccessTokens;
  readonly idempotency: Idempotency;
  readonly logger: Logger;
  readonly onCall?: CallListener | undefined;
  readonly tracing?: Tracing | undefined;
  /** Which calls are other servers' to answer; none where there is no other. `routeRequests` needs the same. */
  readonly elsewhere?: Elsewhere | undefined;
}

/** Give it to `routeRequests({ rpc })`. */
export interface ModalApi extends RpcRoute {
  /** RPCs that were asked for and do not exist here, with how often. */
  unknownRpcs(): ReadonlyMap<string, number>;
  /** Ends calls under way with UNAVAILABLE, which clients repeat: before the port closes, so that long polls do not hold it up. */
  close(): void;
}

/** Messages a client may send: 16 MiB of input and 4 MiB of a file are usual, and JavaScript and Go allow themselves 100 MiB. */
const MAX_MESSAGE_BYTES = 104 << 20;

/** @throws TypeError when two handlers bring the same RPC, which would hide one of them */
export function serveModal(options: ServiceOptions): ModalApi {
  const { logger, idempotency, onCall, tracing } = options;
  const unknown = new UnknownRpcs(logger);
  const shutdown = new AbortController();
  const around = {
    ...{ logger, idempotency, onCall, tracing, tokens: options.tokens },
    clock: () => performance.now(),
    onUnknown: (rpc: string): never => {
      unknown.count(rpc);
      throw unimplemented(rpc);
    },
  };
  // No compression: it costs two thirds of the throughput (docs/protocol/transport.md, 3), and accepting it would accept decompression bombs.
  const router = createConnectRouter({
    readMaxBytes: MAX_MESSAGE_BYTES,
    writeMaxBytes: MAX_MESSAGE_BYTES,
    acceptCompression: [],
    shutdownSignal: shutdown.signal,
  });
  const handlers = merge(options.controlPlane);
  const elsewhere =
    options.elsewhere &&
    new ForwardedCalls({
      ...{ elsewhere: options.elsewhere, logger, maxMessageBytes: MAX_MESSAGE_BYTES },
      handled: new Set([
        ...handled(ModalClient, handlers),
        ...handled(TaskCommandRouter, options.commandRouter),
      ]),
      controlPlane: new Map(ModalClient.methods.map((method) => [pathOfMethod(ModalClient, method), method])),
    });
  const grpc = new GrpcServer(MAX_MESSAGE_BYTES, elsewhere);
  const controlPlane = surround(ModalClient, handlers, around);
  const commandRouter = surround(TaskCommandRouter, options.commandRouter, around);
  router.service(ModalClient, controlPlane);
  router.service(TaskCommandRouter, commandRouter);
  grpc.add(ModalClient, controlPlane);
  grpc.add(TaskCommandRouter, commandRouter);
  const { tokens, accessTokens } = options;
  const endpoint = createEndpoint({
    router,
    grpc,
    elsewhere,
    tokens,
    accessTokens,
    logger,
    onUnknown: (rpc) => unknown.count(rpc),
  });
  return {
    ...endpoint,
    unknownRpcs: () => unknown.counts,
    close: () => {
      const reason = new ConnectError('Skerry is restarting.', Code.Unavailable);
      grpc.abort(reason);
      elsewhere?.abort(reason);
      shutdown.abort(reason);
    },
  };
}

/** Paths of the methods that have a handler. */
const handled = (service: DescService, handlers: object): readonly string[] =>
  service.methods
    .filter(({ localName }) => localName in handlers)
    .map((method) => pathOfMethod(service, method));

function merge(parts: readonly ModalHandlers[]): ModalHandlers {
  const merged: Record<string, unknown> = {};
  for (const part of parts) {
    for (const [name, handler] of Object.entries(part)) {
      if (name in merged) throw new TypeError(`two handlers for ${name}`);
      merged[name] = handler;
    }
  }
  return merged; // every entry comes from a value of this very type
}
