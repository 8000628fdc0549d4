/**
 * The REST interface of Modbox: `/modbox/v1/…` provisions sandboxes, `/sandboxes/<id>/modbox/api/…` works in one, `/modbox/openapi.json` describes
 * both. docs/modbox.md is its manual.
 */
import { createHttpApi, type HttpApi, type HttpApiDeps } from '../http/app.ts';
import { requireSandboxAccess } from '../http/caller.ts';
import { fileRoutes } from '../http/file-routes.ts';
import { portRoutes } from '../http/port-routes.ts';
import type { HttpApp } from '../http/routes.ts';
import { volumeRoutes } from '../http/volume-routes.ts';
import { execRoutes } from './exec-routes.ts';
import { processRoutes } from './process-routes.ts';
import { type ModboxParts, provisioningRoutes } from './provisioning-routes.ts';

export interface ModboxDeps extends HttpApiDeps, Pick<ModboxParts, 'provisioner' | 'defaultImage'> {}

export function createModboxApi(deps: ModboxDeps): HttpApi {
  const { provisioner, defaultImage } = deps;
  return createHttpApi(deps, {
    name: 'modbox',
    prefixes: ['/modbox', '/sandboxes'],
    title: 'Modbox on Skerry',
    description: 'Sandboxes under your own task ids, and commands, files, processes and ports in them.',
    openapiPath: '/modbox/openapi.json',
    securitySchemes: {
      apiToken: { description: 'MODBOX_API_TOKEN, `<id>:<secret>`.' },
      sandboxKey: { description: "SANDBOX_API_KEY, or the sandbox's own apiKey." },
    },
    routes(app, parts) {
      const provisioning = { ...parts, provisioner, defaultImage };
      app.register(async (scope: HttpApp) => provisioningRoutes(scope, provisioning), {
        prefix: '/modbox/v1',
      });
      app.register(
        async (scope: HttpApp) => {
          scope.addHook<{ Params: { sandboxId: string } }>('onRequest', async (request, reply) =>
            requireSandboxAccess(request, reply, parts.auth),
          );
          execRoutes(scope, parts);
          processRoutes(scope, parts);
          volumeRoutes(scope, parts);
          portRoutes(scope, parts);
          scope.register(async (files: HttpApp) => fileRoutes(files, parts));
        },
        { prefix: '/sandboxes/:sandboxId/modbox/api' },
      );
    },
  });
}
