/**
 * The REST interface of Modbox: `/modbox/v1/…` provisions sandboxes, `/sandboxes/<id>/modbox/api/…` works in one, `/modbox/openapi.json` describes
 * both. docs/modbox.md is its manual.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import cors from '@fastify/cors';
import swagger from '@fastify/swagger';
import { fastify } from 'fastify';
import {
  jsonSchemaTransform,
  jsonSchemaTransformObject,
  serializerCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod';
import { type $ZodType, safeParse } from 'zod/v4/core';
import { SkerryError, toSkerryError } from '../../errors/skerry-error.ts';
import type { DefaultImage } from '../../images/default-image.ts';
import type { Provisioner } from '../../sandboxes/provisioner.ts';
import type { Sandboxes } from '../../sandboxes/sandboxes.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { AnyRequest, AnyResponse } from '../../transport/port.ts';
import type { HttpAccess } from '../../tunnels/http-access.ts';
import type { Tunnels } from '../../tunnels/tunnels.ts';
import { type ModboxAuth, requireSandboxAccess } from './caller.ts';
import { errorAnswerOf, invalidRequest } from './error-answers.ts';
import { execRoutes } from './exec-routes.ts';
import { fileRoutes } from './file-routes.ts';
import { tidyComponents } from './openapi.ts';
import { portRoutes } from './port-routes.ts';
import { processRoutes } from './process-routes.ts';
import { provisioningRoutes } from './provisioning-routes.ts';
import type { ModboxApp, RouteParts } from './routes.ts';
import { volumeRoutes } from './volume-routes.ts';

/** Largest JSON body: what a program's arguments, environment and input may come to at once. */
const MAX_BODY_BYTES = 8 << 20;
const DEFAULT_MAX_FILE_BYTES = 1 << 30;
/** A task id has at most 128 characters, each at most 4 bytes in UTF-8, each byte 3 characters in a URL. */
const MAX_PARAM_LENGTH = 1536;

export interface ModboxDeps {
  readonly sandboxes: Sandboxes;
  readonly provisioner: Provisioner;
  /** The image of sandboxes that name none. */
  readonly defaultImage: DefaultImage;
  readonly tunnels: Tunnels;
  readonly httpAccess: HttpAccess;
  readonly auth: ModboxAuth;
  readonly logger: Logger;
  /** Largest file that may be written, in bytes; 1 GiB by default. */
  readonly maxFileBytes?: number;
}

export interface ModboxApi {
  /** The paths this API owns, each with everything below it. */
  readonly prefixes: readonly string[];
  handle(request: AnyRequest, response: AnyResponse): Promise<void>;
  /** The OpenAPI 3.1 document. */
  openapi(): Promise<unknown>;
  /** Ends every request under way. */
  close(): Promise<void>;
}

export function createModboxApi(deps: ModboxDeps): ModboxApi {
  const closing = new AbortController();
  const { signal } = closing;
  const logger = deps.logger.child({ part: 'modbox' });
  const app = createApp({
    auth: deps.auth,
    sandboxes: deps.sandboxes,
    provisioner: deps.provisioner,
    defaultImage: deps.defaultImage,
    tunnels: deps.tunnels,
    httpAccess: deps.httpAccess,
    logger,
    maxFileBytes: deps.maxFileBytes ?? DEFAULT_MAX_FILE_BYTES,
    closing: signal,
  });
  return {
    prefixes: ['/modbox', '/sandboxes'],
    async handle(request, response) {
      await app.ready();
      // HTTP/2 requests come through Node's compatibility API, which has every part of HTTP/1.1's that Fastify touches.
      app.routing(request as IncomingMessage, response as ServerResponse);
    },
    async openapi() {
      await app.ready();
      return app.swagger();
    },
    async close() {
      closing.abort(new SkerryError('unavailable', 'The server is shutting down.'));
      await app.close();
    },
  };
}

function createApp(parts: RouteParts): ModboxApp {
  const app: ModboxApp = fastify({
    logger: false,
    bodyLimit: MAX_BODY_BYTES,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
  }).withTypeProvider<ZodTypeProvider>();
  const { logger } = parts;

  app.setValidatorCompiler<$ZodType>(({ schema, httpPart = 'body' }) => (data) => {
    const result = safeParse(schema, data);
    return result.success ? { value: result.data } : { error: invalidRequest(httpPart, result.error) };
  });
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler((error, request, reply) => {
    const answer = errorAnswerOf(error);
    if (answer.status === 500) {
      const { message, cause } = toSkerryError(error);
      logger.error({ path: request.routeOptions.url, error: message, cause: String(cause) }, 'modbox.failed');
    }
    return reply.code(answer.status).headers(answer.headers).send(answer.body);
  });
  app.setNotFoundHandler((request, reply) => {
    const text = `There is no ${request.method} ${request.url.split('?')[0]}; /modbox/openapi.json lists what there is.`;
    const answer = errorAnswerOf(new SkerryError('not-found', text));
    return reply.code(answer.status).send(answer.body);
  });
  app.addHook('onResponse', async (request, reply) => {
    const { method, routeOptions } = request;
    const fields = { method, route: routeOptions.url, status: reply.statusCode };
    logger.info({ ...fields, durationMs: Math.round(reply.elapsedTime) }, 'modbox.request');
  });

  // Keys travel in a header, never in a cookie, so a page of another origin can do no more than its own keys allow.
  app.register(cors, {
    origin: '*',
    methods: ['GET', 'POST', 'PUT', 'DELETE'],
    allowedHeaders: ['authorization', 'content-type', 'last-event-id'],
    exposedHeaders: ['retry-after'],
  });
  app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Modbox on Skerry',
        version: '1',
        description: 'Sandboxes under your own task ids, and commands, files, processes and ports in them.',
      },
      components: {
        securitySchemes: {
          apiToken: { type: 'http', scheme: 'bearer', description: 'MODBOX_API_TOKEN, `<id>:<secret>`.' },
          sandboxKey: {
            type: 'http',
            scheme: 'bearer',
            description: "SANDBOX_API_KEY, or the sandbox's own apiKey.",
          },
        },
      },
    },
    transform: jsonSchemaTransform,
    transformObject: (document) => tidyComponents(jsonSchemaTransformObject(document)),
  });
  app.register(async (scope: ModboxApp) => provisioningRoutes(scope, parts), { prefix: '/modbox/v1' });
  app.register(
    async (scope: ModboxApp) => {
      scope.addHook<{ Params: { sandboxId: string } }>('onRequest', async (request) =>
        requireSandboxAccess(request, parts.auth, request.params.sandboxId),
      );
      execRoutes(scope, parts);
      processRoutes(scope, parts);
      volumeRoutes(scope, parts);
      portRoutes(scope, parts);
      scope.register(async (files: ModboxApp) => fileRoutes(files, parts));
    },
    { prefix: '/sandboxes/:sandboxId/modbox/api' },
  );
  app.register(async (scope) => {
    scope.get('/modbox/openapi.json', { schema: { hide: true } }, async () => app.swagger());
  });
  return app;
}
