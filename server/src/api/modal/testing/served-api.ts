/** The API on a real port of this machine, over the real domain and the fake engine. */
import type { AppService } from '../../../apps/app-service.ts';
import { AccessTokens } from '../../../auth/access-tokens.ts';
import { ConnectTokens } from '../../../auth/connect-tokens.ts';
import type { TokenFile } from '../../../auth/token-file.ts';
import type { TokenStore } from '../../../auth/token-store.ts';
import { configSchema } from '../../../config/config.ts';
import { Cleanup } from '../../../platform/cleanup.ts';
import { AppReaper } from '../../../sandboxes/app-reaper.ts';
import type { SandboxService } from '../../../sandboxes/sandbox-service.ts';
import { Domain, type DomainOptions } from '../../../sandboxes/testing/domain.ts';
import type { CallListener } from '../../../telemetry/calls.ts';
import { type Certificate, loadCertificate } from '../../../transport/certificate.ts';
import { listen } from '../../../transport/listener.ts';
import { createPort } from '../../../transport/port.ts';
import { type HttpRoute, routeRequests } from '../../../transport/routes.ts';
import { openTunnels } from '../../../tunnels/open-tunnels.ts';
import { openTokens } from '../../testing/owner-token.ts';
import { authHandlers } from '../control-plane/auth-token.ts';
import { environmentHandlers } from '../control-plane/environments.ts';
import { logHandlers } from '../control-plane/logs.ts';
import { sandboxHandlers } from '../control-plane/sandboxes.ts';
import { taskHandlers } from '../control-plane/tasks.ts';
import { workspaceHandlers } from '../control-plane/workspace.ts';
import { sandboxStdioHandlers } from '../legacy/sandbox-stdio.ts';
import { commandRouterHandlers } from '../router/command-router.ts';
import { sidecarHandlers, sidecarRouterHandlers } from '../router/sidecars.ts';
import type { Authenticators } from '../rpc/call.ts';
import { Idempotency } from '../rpc/idempotency.ts';
import { type ModalApi, type ModalHandlers, serveModal } from '../rpc/service.ts';

export interface ServedApi extends AsyncDisposable {
  readonly port: number;
  readonly token: TokenFile;
  readonly tokens: TokenStore;
  readonly certificate: Certificate;
  /** What is served. */
  readonly domain: Domain;
  readonly sandboxes: SandboxService;
  readonly apps: AppService;
  readonly api: ModalApi;
  /** Lines the server logged, parsed. */
  readonly log: readonly Record<string, unknown>[];
  /** Headers of a control plane call. */
  readonly credentials: Readonly<Record<string, string>>;
  /** Id of an app to create sandboxes in. */
  readonly appId: string;
  close(graceMs: number): Promise<void>;
}

export interface ServedApiOptions extends Pick<DomainOptions, 'now'> {
  readonly handlers?: ModalHandlers;
  readonly onCall?: CallListener;
  readonly routes?: readonly HttpRoute[];
  readonly firstBytesTimeoutMs?: number;
  readonly headerTimeoutMs?: number;
  readonly bodyIdleTimeoutMs?: number;
  readonly plaintextFrom?: 'machine' | 'anywhere';
  /** In place of what tells who calls, made of the right ones: for what must be seen to go wrong without them. */
  readonly authentication?: (right: Authenticators) => Authenticators;
}

export async function serveApi(options: ServedApiOptions = {}): Promise<ServedApi> {
  const { now = Date.now } = options;
  const cleanup = new Cleanup();
  try {
    const domain = await Domain.open({ now, config: { runtime: 'gvisor', maxSandboxes: 200 } });
    cleanup.add('domain', () => domain[Symbol.asyncDispose]());
    const { dataDir, store, logger, apps, manager: sandboxes } = domain;
    const { sidecars } = sandboxes;
    const { tokens, token } = await openTokens(domain);
    const certificate = await loadCertificate({
      dataDir,
      certFile: '',
      keyFile: '',
      names: [],
      now: Date.now,
    });
    const opened = await openTunnels({
      ...{ config: configSchema.parse({ dataDir }), sandboxes, certificate, logger, names: [], now },
      repository: store.tunnels,
      gateways: { repository: store.gateways, tokens: new ConnectTokens(tokens.signingKey, now) },
      follow: (follower) => sandboxes.follow(follower),
      mayEnter: () => true,
    });
    cleanup.add('tunnels', () => opened.close());
    const accessTokens = new AccessTokens(tokens.signingKey, Date.now);
    const idempotency = new Idempotency(store.answers, Date.now);
    const api = serveModal({
      controlPlane: [
        authHandlers({ accessTokens }),
        environmentHandlers({ apps, reaper: new AppReaper({ apps, sandboxes, logger }) }),
        sandboxHandlers({
          ...{ sandboxes, apps, accessTokens },
          ...{ tunnels: opened.tunnels, httpAccess: opened.gateways },
        }),
        logHandlers({ sandboxes, apps, images: domain.images, now }),
        sandboxStdioHandlers({ sandboxes, legacyExecs: store.legacyExecs, now }),
        sidecarHandlers({ sandboxes, sidecars }),
        taskHandlers({ apps, sandboxes }),
        workspaceHandlers(),
        options.handlers ?? {},
      ],
      commandRouter: {
        ...commandRouterHandlers({ sandboxes, sidecars, idempotency, now }),
        ...sidecarRouterHandlers({ sandboxes, sidecars }),
      },
      ...(options.authentication?.({ tokens, accessTokens }) ?? { tokens, accessTokens }),
      ...{ idempotency, logger, onCall: options.onCall },
    });
    const port = createPort({
      listener: await listen({ host: '127.0.0.1', port: 0 }),
      tls: certificate,
      plaintextFrom: options.plaintextFrom ?? 'anywhere',
      onRequest: routeRequests({ rpc: api, routes: options.routes ?? [], logger }),
      onUpgrade: (_request, socket) =>
        socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\nhello'),
      logger,
      ...(options.firstBytesTimeoutMs && { firstBytesTimeoutMs: options.firstBytesTimeoutMs }),
      ...(options.headerTimeoutMs && { headerTimeoutMs: options.headerTimeoutMs }),
      ...(options.bodyIdleTimeoutMs && { bodyIdleTimeoutMs: options.bodyIdleTimeoutMs }),
    });
    let closed: Promise<void> | undefined;
    const close = (graceMs: number) => {
      api.close();
      closed ??= port.close(graceMs);
      return closed;
    };
    cleanup.add('port', () => close(0));
    return {
      port: port.address.port,
      token,
      tokens,
      certificate,
      domain,
      sandboxes,
      apps,
      api,
      log: domain.log,
      credentials: { 'x-modal-token-id': token.tokenId, 'x-modal-token-secret': token.tokenSecret },
      appId: apps.lookup('', 'test-app', true).id,
      close,
      [Symbol.asyncDispose]: () => cleanup.run(),
    };
  } catch (error) {
    await cleanup.run();
    throw error;
  }
}
