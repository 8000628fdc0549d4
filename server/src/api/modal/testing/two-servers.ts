/** Two servers of which one has the other answer: each on a port of this machine, with a certificate of its own, and handlers of a test's. */
import { randomBytes } from 'node:crypto';
import type { TestContext } from 'node:test';
import { createClient, type Interceptor } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { AccessTokens } from '../../../auth/access-tokens.ts';
import type { TokenStore } from '../../../auth/token-store.ts';
import type { SandboxId, TaskId } from '../../../ids.ts';
import { Domain } from '../../../sandboxes/testing/domain.ts';
import type { FinishedCall } from '../../../telemetry/calls.ts';
import { type Elsewhere, RequestForwarder } from '../../../transport/forward-requests.ts';
import { listen } from '../../../transport/listener.ts';
import type { Peer } from '../../../transport/peer-link.ts';
import { createPort } from '../../../transport/port.ts';
import { routeRequests } from '../../../transport/routes.ts';
import { makeCertificate } from '../../../transport/testing/certificate.ts';
import { openTokens } from '../../testing/owner-token.ts';
import { ModalClient } from '../gen/modal/service_pb.ts';
import { TaskCommandRouter } from '../gen/modal/task_command_router_pb.ts';
import { Idempotency } from '../rpc/idempotency.ts';
import { type ModalApi, type ModalHandlers, type RouterHandlers, serveModal } from '../rpc/service.ts';

export const HOST = '127.0.0.1';
export const SANDBOX = `sb-${'1'.repeat(26)}` as SandboxId;
export const TASK = `ta-${'1'.repeat(25)}V` as TaskId;

export interface Handlers {
  readonly controlPlane?: ModalHandlers;
  readonly commandRouter?: RouterHandlers;
}

export interface OneServer {
  readonly peer: Peer;
  readonly api: ModalApi;
  /** What it answered. */
  readonly calls: readonly FinishedCall[];
  close(): Promise<void>;
}

export interface TwoServers {
  /** Has `back` answer what is about a sandbox or task, and what it has no handler for. */
  readonly front: OneServer;
  readonly back: OneServer;
  readonly credentials: Readonly<Record<string, string>>;
  /** Both have the same. */
  readonly tokens: TokenStore;
  /** What the front asked `elsewhere`. */
  readonly asked: readonly (readonly [about: readonly string[], call: string])[];
  /** The back anew at its place, after it was closed. */
  reopenBack(): Promise<void>;
  controlPlane(
    server?: OneServer,
    headers?: Readonly<Record<string, string>>,
  ): ReturnType<typeof createClient<typeof ModalClient>>;
  router(): Promise<ReturnType<typeof createClient<typeof TaskCommandRouter>>>;
}

export interface TwoServersOptions {
  readonly front?: Handlers;
  readonly back: Handlers;
  /** Where the front looks for the back, in the place of where that is. */
  readonly seenAs?: (back: Peer) => Peer;
  /** Whether the back would have the front answer all. */
  readonly disagreeing?: boolean;
  readonly patienceMs?: number;
}

export async function twoServers(t: TestContext, options: TwoServersOptions): Promise<TwoServers> {
  const domain = await Domain.open();
  t.after(() => domain[Symbol.asyncDispose]());
  const { tokens, token } = await openTokens(domain);
  const accessTokens = new AccessTokens(tokens.signingKey, Date.now);
  const { logger } = domain;
  const key = randomBytes(32);
  const { patienceMs = 300 } = options;

  async function serve(
    { controlPlane = {}, commandRouter = {} }: Handlers,
    peerOf: Elsewhere['peerOf'],
    at = { port: 0, certificate: undefined as Awaited<ReturnType<typeof makeCertificate>> | undefined },
  ) {
    const certificate = at.certificate ?? (await makeCertificate());
    const forwarder = new RequestForwarder({ key, logger, patienceMs });
    const elsewhere = { peerOf, forwarder };
    const calls: FinishedCall[] = [];
    const api = serveModal({
      ...{ controlPlane: [controlPlane], commandRouter, tokens, accessTokens, logger, elsewhere },
      idempotency: new Idempotency(domain.store.answers, Date.now),
      onCall: (call) => calls.push(call),
    });
    const port = createPort({
      listener: await listen({ host: HOST, port: at.port }),
      tls: certificate,
      plaintextFrom: 'machine',
      onRequest: routeRequests({ rpc: api, routes: [], logger, elsewhere }),
      onUpgrade: (_request, socket) => socket.destroy(),
      logger,
    });
    const close = async () => {
      forwarder.close();
      await port.close(0);
    };
    t.after(close);
    const peer = { host: HOST, port: port.address.port, fingerprint: certificate.fingerprint };
    return { peer, api, calls, close, certificate };
  }

  let frontPeer: Peer | undefined;
  const backAsks = () => (options.disagreeing ? frontPeer : undefined);
  const back = await serve(options.back, backAsks);
  const asked: (readonly [readonly string[], string])[] = [];
  const front = await serve(options.front ?? {}, (about, call) => {
    asked.push([about, call]);
    return options.seenAs ? options.seenAs(back.peer) : back.peer;
  });
  frontPeer = front.peer;
  const credentials = { 'x-modal-token-id': token.tokenId, 'x-modal-token-secret': token.tokenSecret };
  return {
    ...{ front, back, asked, credentials, tokens },
    async reopenBack() {
      await serve(options.back, backAsks, { port: back.peer.port, certificate: back.certificate });
    },
    controlPlane: (server = front, headers = {}) =>
      createClient(ModalClient, transport(server, { ...credentials, ...headers })),
    router: async () => {
      const grant = { sandboxId: SANDBOX, taskId: TASK, tokenId: token.tokenId };
      const bearer = `Bearer ${await accessTokens.forRouter(grant)}`;
      return createClient(TaskCommandRouter, transport(front, { authorization: bearer }));
    },
  };
}

function transport({ peer }: OneServer, headers: Readonly<Record<string, string>>) {
  const withHeaders: Interceptor = (next) => (request) => {
    for (const [name, value] of Object.entries(headers)) request.header.set(name, value);
    return next(request);
  };
  return createGrpcTransport({
    ...{ baseUrl: `http://localhost:${peer.port}`, interceptors: [withHeaders] },
    ...{ readMaxBytes: 104 << 20, writeMaxBytes: 104 << 20 },
  });
}
