/**
 * Skerry's own HTTP interface, `/v1/…`, which the TypeScript SDK (`sdk/`) and the commands of `skerry` that work in sandboxes speak: sandboxes by Skerry's own
 * ids, whoever made them. docs/decisions/0031 says why it is one of our own.
 */
import type { Secrets } from '../../secrets/secrets.ts';
import { createHttpApi, type HttpApi, type HttpApiDeps } from '../http/app.ts';
import { requireSandboxAccess, requireToken } from '../http/caller.ts';
import { fileRoutes } from '../http/file-routes.ts';
import { portRoutes } from '../http/port-routes.ts';
import type { HttpApp } from '../http/routes.ts';
import { volumeRoutes } from '../http/volume-routes.ts';
import { changeRoutes } from './change-routes.ts';
import { checkpointRoutes } from './checkpoint-routes.ts';
import { directoryRoutes } from './directory-routes.ts';
import { eventRoutes, type LifeEvents, lifeRoutes } from './event-routes.ts';
import { processRoutes } from './process-routes.ts';
import { sandboxRoutes } from './sandbox-routes.ts';
import type { SandboxSpecParts } from './sandbox-spec.ts';
import { secretRoutes } from './secret-routes.ts';
import { snapshotRoutes } from './snapshot-routes.ts';
import { type StoredVolumes, storedVolumeRoutes } from './stored-volume-routes.ts';
import { usageRoutes } from './usage-routes.ts';

export interface RestDeps extends HttpApiDeps, Pick<SandboxSpecParts, 'images'>, StoredVolumes {
  readonly secrets: Secrets;
  readonly life: LifeEvents;
}

export function createRestApi(deps: RestDeps): HttpApi {
  return createHttpApi(deps, {
    name: 'rest',
    prefixes: ['/v1'],
    title: 'Skerry',
    description: 'Sandboxes, and processes, files, ports and snapshots of them.',
    openapiPath: '/v1/openapi.json',
    securitySchemes: {
      apiToken: { description: 'A token, `<id>:<secret>`.' },
      sandboxKey: { description: "A token, or the sandbox's own key." },
    },
    routes(app, parts) {
      app.register(async (scope: HttpApp) => sandboxRoutes(scope, parts, deps), { prefix: '/v1' });
      // What makes sandboxes, or says what they may do, is for no key of theirs.
      app.register(
        async (scope: HttpApp) => {
          scope.addHook('onRequest', async (request, reply) => requireToken(request, reply, parts.auth));
          checkpointRoutes(scope, parts);
          changeRoutes(scope, parts);
          lifeRoutes(scope, parts, deps.life);
          usageRoutes(scope, parts);
          secretRoutes(scope, deps);
          await scope.register(async (inner: HttpApp) => storedVolumeRoutes(inner, deps));
        },
        { prefix: '/v1' },
      );
      app.register(
        async (scope: HttpApp) => {
          scope.addHook<{ Params: { sandboxId: string } }>('onRequest', async (request, reply) =>
            requireSandboxAccess(request, reply, parts.auth),
          );
          await scope.register(async (inner: HttpApp) => processRoutes(inner, parts, deps.secrets));
          directoryRoutes(scope, parts);
          snapshotRoutes(scope, parts);
          eventRoutes(scope, parts);
          volumeRoutes(scope, parts);
          portRoutes(scope, parts);
          scope.register(async (files: HttpApp) => fileRoutes(files, parts));
        },
        { prefix: '/v1/sandboxes/:sandboxId' },
      );
    },
  });
}
