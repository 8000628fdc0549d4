/** What every HTTP interface of ours is made of: validation, errors as answers, CORS, one log line a request, and an OpenAPI document. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import cors from '@fastify/cors';
import swagger from '@fastify/swagger';
import { type FastifyRequest, fastify } from 'fastify';
import {
  jsonSchemaTransform,
  jsonSchemaTransformObject,
  serializerCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod';
import { type $ZodType, safeParse } from 'zod/v4/core';
import { SkerryError, toSkerryError } from '../../errors/skerry-error.ts';
import type { Sandboxes } from '../../sandboxes/sandboxes.ts';
import type { ApiName, CallListener } from '../../telemetry/calls.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { type CallSpan, headerOf, type Tracing, within } from '../../telemetry/tracing.ts';
import type { AnyRequest, AnyResponse } from '../../transport/port.ts';
import type { HttpRoute } from '../../transport/routes.ts';
import type { HttpAccess } from '../../tunnels/http-access.ts';
import type { Tunnels } from '../../tunnels/tunnels.ts';
import { callerIdOf, type HttpAuth } from './caller.ts';
import { errorAnswerOf, invalidRequest } from './error-answers.ts';
import { tidyComponents } from './openapi.ts';
import type { HttpApp, RouteParts } from './routes.ts';
import { subjectsOf } from './subjects.ts';

/** Largest JSON body: what a program's arguments, environment and input may come to at once. */
const MAX_BODY_BYTES = 8 << 20;
const DEFAULT_MAX_FILE_BYTES = 1 << 30;
/** An id has at most 128 characters, each at most 4 bytes in UTF-8, each byte 3 characters in a URL. */
const MAX_PARAM_LENGTH = 1536;

export interface HttpApiDeps {
  readonly sandboxes: Sandboxes;
  readonly tunnels: Tunnels;
  readonly httpAccess: HttpAccess;
  readonly auth: HttpAuth;
  readonly logger: Logger;
  readonly onCall?: CallListener;
  readonly tracing?: Tracing | undefined;
  /** Largest file that may be written, in bytes; 1 GiB by default. */
  readonly maxFileBytes?: number;
}

export interface HttpApi {
  /** The paths this API owns, each with everything below it. */
  readonly prefixes: readonly string[];
  handle(request: AnyRequest, response: AnyResponse): Promise<void>;
  /** The OpenAPI 3.1 document. */
  openapi(): Promise<unknown>;
  /** Ends every request under way. */
  close(): Promise<void>;
}

/** One for each path that these own. */
export const routesOf = (apis: readonly HttpApi[]): readonly HttpRoute[] =>
  apis.flatMap(({ prefixes, handle }) => prefixes.map((prefix) => ({ prefix, handle })));

/** What tells one interface from another. */
export interface HttpApiOptions {
  /** In log events. */
  readonly name: Extract<ApiName, 'rest' | 'modbox'>;
  readonly prefixes: readonly string[];
  readonly title: string;
  readonly description: string;
  readonly openapiPath: string;
  readonly securitySchemes: Readonly<Record<string, { readonly description: string }>>;
  routes(app: HttpApp, parts: RouteParts): void;
}

export function createHttpApi(deps: HttpApiDeps, options: HttpApiOptions): HttpApi {
  const closing = new AbortController();
  const app = createApp(options, deps, {
    auth: deps.auth,
    sandboxes: deps.sandboxes,
    tunnels: deps.tunnels,
    httpAccess: deps.httpAccess,
    logger: deps.logger.child({ part: options.name }),
    maxFileBytes: deps.maxFileBytes ?? DEFAULT_MAX_FILE_BYTES,
    closing: closing.signal,
  });
  return {
    prefixes: options.prefixes,
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

/** In place of Fastify's own compilers, which it would load before others are set: a tenth of all modules that a server loads. */
const nobodys = (): never => {
  throw new Error('every app sets its compilers');
};

function createApp(
  options: HttpApiOptions,
  { onCall, tracing }: Pick<HttpApiDeps, 'onCall' | 'tracing'>,
  parts: RouteParts,
): HttpApp {
  const app: HttpApp = fastify({
    logger: false,
    bodyLimit: MAX_BODY_BYTES,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    schemaController: { compilersFactory: { buildValidator: nobodys, buildSerializer: nobodys } },
  }).withTypeProvider<ZodTypeProvider>();
  const { logger } = parts;
  const { name, openapiPath } = options;

  app.setValidatorCompiler<$ZodType>(({ schema, httpPart = 'body' }) => (data) => {
    const result = safeParse(schema, data);
    return result.success ? { value: result.data } : { error: invalidRequest(httpPart, result.error) };
  });
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler((error, request, reply) => {
    const answer = errorAnswerOf(error);
    if (answer.status === 500) {
      const { message, cause } = toSkerryError(error);
      logger.error(
        { path: request.routeOptions.url, error: message, cause: String(cause) },
        `${name}.failed`,
      );
    }
    return reply.code(answer.status).headers(answer.headers).send(answer.body);
  });
  app.setNotFoundHandler((request, reply) => {
    const text = `There is no ${request.method} ${request.url.split('?')[0]}; ${openapiPath} lists what there is.`;
    const answer = errorAnswerOf(new SkerryError('not-found', text));
    return reply.code(answer.status).send(answer.body);
  });
  const spans = new WeakMap<FastifyRequest, CallSpan>();
  if (tracing) {
    app.addHook('onRequest', async (request) => {
      spans.set(
        request,
        tracing.begin((name) => headerOf(request, name)),
      );
    });
    // Behind the reading of the body, which goes on for nobody in particular.
    app.addHook('preValidation', (request, _reply, done) => within(spans.get(request), done));
  }
  app.addHook('onResponse', async (request, reply) => {
    const { method, routeOptions } = request;
    const span = spans.get(request);
    const fields = { method, route: routeOptions.url, status: reply.statusCode };
    onCall?.({
      api: name,
      method: routeOptions.url === undefined ? 'none' : `${method} ${routeOptions.url}`,
      status: String(reply.statusCode),
      durationMs: reply.elapsedTime,
      caller: callerIdOf(request),
      subjects: subjectsOf(request),
      ...(span && { span }),
    });
    logger.info({ ...fields, durationMs: Math.round(reply.elapsedTime) }, `${name}.request`);
  });

  // Keys travel in a header, never in a cookie, so a page of another origin can do no more than its own keys allow.
  app.register(cors, {
    origin: '*',
    methods: ['GET', 'POST', 'PUT', 'DELETE'],
    allowedHeaders: ['authorization', 'content-type', 'last-event-id'],
    exposedHeaders: ['retry-after'],
  });
  const { title, description, securitySchemes } = options;
  app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title, version: '1', description },
      components: {
        securitySchemes: Object.fromEntries(
          Object.entries(securitySchemes).map(([key, scheme]) => [
            key,
            { type: 'http' as const, scheme: 'bearer', ...scheme },
          ]),
        ),
      },
    },
    transform: jsonSchemaTransform,
    transformObject: (document) => tidyComponents(jsonSchemaTransformObject(document)),
  });
  // After the plugin above, which sees the routes of those that come later.
  app.register(async (scope: HttpApp) => options.routes(scope, parts));
  app.register(async (scope) => {
    scope.get(openapiPath, { schema: { hide: true } }, async () => app.swagger());
  });
  return app;
}
