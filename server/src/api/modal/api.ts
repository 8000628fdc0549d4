/** The Modal-compatible gRPC API put together: what the server needs to know of this folder. */
import type { AccessTokens } from '../../auth/access-tokens.ts';
import type { TokenStore } from '../../auth/token-store.ts';
import type { CallListener } from '../../telemetry/calls.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Tracing } from '../../telemetry/tracing.ts';
import type { Elsewhere } from '../../transport/forward-requests.ts';
import { type AppHandlerDeps, appHandlers } from './control-plane/apps.ts';
import { authHandlers } from './control-plane/auth-token.ts';
import { type BlobHandlerDeps, blobHandlers } from './control-plane/blobs.ts';
import { type EnvironmentHandlerDeps, environmentHandlers } from './control-plane/environments.ts';
import { type ImageHandlerDeps, imageHandlers } from './control-plane/images.ts';
import { type LogHandlerDeps, logHandlers } from './control-plane/logs.ts';
import { type MemorySnapshotHandlerDeps, memorySnapshotHandlers } from './control-plane/memory-snapshots.ts';
import { type MountHandlerDeps, mountHandlers } from './control-plane/mounts.ts';
import { type SandboxHandlerDeps, sandboxHandlers } from './control-plane/sandboxes.ts';
import { type SecretHandlerDeps, secretHandlers } from './control-plane/secrets.ts';
import { type TaskHandlerDeps, taskHandlers } from './control-plane/tasks.ts';
import { type VolumeFileHandlerDeps, volumeFileHandlers } from './control-plane/volume-files.ts';
import { type VolumeHandlerDeps, volumeHandlers } from './control-plane/volumes.ts';
import { workspaceHandlers } from './control-plane/workspace.ts';
import { type ContainerExecHandlerDeps, containerExecHandlers } from './legacy/container-exec.ts';
import { containerVolumeHandlers } from './legacy/container-volumes.ts';
import { type FilesystemHandlerDeps, filesystemHandlers } from './legacy/filesystem.ts';
import { type SandboxStdioHandlerDeps, sandboxStdioHandlers } from './legacy/sandbox-stdio.ts';
import { commandRouterHandlers } from './router/command-router.ts';
import { type SidecarHandlerDeps, sidecarHandlers, sidecarRouterHandlers } from './router/sidecars.ts';
import { Idempotency, type KeptAnswers } from './rpc/idempotency.ts';
import { type ModalApi, serveModal } from './rpc/service.ts';

/** What the handlers of every resource need, and what surrounds them. */
export type ModalApiDeps = AppHandlerDeps &
  BlobHandlerDeps &
  ContainerExecHandlerDeps &
  EnvironmentHandlerDeps &
  FilesystemHandlerDeps &
  ImageHandlerDeps &
  LogHandlerDeps &
  MountHandlerDeps &
  SandboxHandlerDeps &
  SandboxStdioHandlerDeps &
  SecretHandlerDeps &
  SidecarHandlerDeps &
  TaskHandlerDeps &
  VolumeFileHandlerDeps &
  VolumeHandlerDeps & {
    readonly tokens: TokenStore;
    readonly accessTokens: AccessTokens;
    readonly answers: KeptAnswers;
    readonly logger: Logger;
    readonly onCall?: CallListener;
    readonly tracing?: Tracing | undefined;
    readonly elsewhere?: Elsewhere | undefined;
    /** Milliseconds since the epoch. */
    readonly now: () => number;
  };

/** What those of sandboxes that one of several servers keeps under the one that leads need. */
export type MemberApiDeps = ContainerExecHandlerDeps &
  FilesystemHandlerDeps &
  LogHandlerDeps &
  SandboxHandlerDeps &
  SandboxStdioHandlerDeps &
  SidecarHandlerDeps &
  TaskHandlerDeps &
  MemorySnapshotHandlerDeps &
  Pick<
    ModalApiDeps,
    'tokens' | 'accessTokens' | 'answers' | 'logger' | 'onCall' | 'tracing' | 'elsewhere' | 'now'
  >;

/** The handlers of all that is about single sandboxes. */
const aboutSandboxes = (deps: MemberApiDeps) => [
  containerExecHandlers(deps),
  containerVolumeHandlers(deps),
  filesystemHandlers(deps),
  logHandlers(deps),
  memorySnapshotHandlers(deps),
  sandboxHandlers(deps),
  sandboxStdioHandlers(deps),
  sidecarHandlers(deps),
  taskHandlers(deps),
];

/** Likewise; calls about anything else are answered elsewhere. */
export function buildMemberApi(deps: MemberApiDeps): ModalApi {
  const idempotency = new Idempotency(deps.answers, deps.now);
  return serveModal({
    ...deps,
    controlPlane: aboutSandboxes(deps),
    commandRouter: { ...commandRouterHandlers({ ...deps, idempotency }), ...sidecarRouterHandlers(deps) },
    idempotency,
  });
}

/** Give the result to `routeRequests({ rpc })`; call its `close` before the port's. */
export function buildModalApi(deps: ModalApiDeps): ModalApi {
  const idempotency = new Idempotency(deps.answers, deps.now);
  return serveModal({
    controlPlane: [
      ...aboutSandboxes(deps),
      appHandlers(deps),
      authHandlers(deps),
      blobHandlers(deps),
      environmentHandlers(deps),
      imageHandlers(deps),
      mountHandlers(deps),
      secretHandlers(deps),
      volumeFileHandlers(deps),
      volumeHandlers(deps),
      workspaceHandlers(),
    ],
    commandRouter: { ...commandRouterHandlers({ ...deps, idempotency }), ...sidecarRouterHandlers(deps) },
    tokens: deps.tokens,
    accessTokens: deps.accessTokens,
    idempotency,
    logger: deps.logger,
    onCall: deps.onCall,
    tracing: deps.tracing,
    elsewhere: deps.elsewhere,
  });
}
