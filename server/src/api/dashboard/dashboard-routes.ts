/**
 * The dashboard: the page at `/`, and what it asks for below `/dashboard/`.
 *
 *   GET    /                        the page; where one is in it stands behind the `#`, and never comes here
 *   GET    /dashboard/assets/NAME   its script and styles
 *   POST   /dashboard/session       {token}: signs in; the page's half of the session, and what the token is
 *   DELETE /dashboard/session       signs out
 *   ANY    /dashboard/api/PATH      PATH of the interfaces below, as who is signed in
 *   POST   /dashboard/downloads     {path, name}: where a browser gets that file, for a minute
 *   GET    /dashboard/downloads/T   gives it
 *
 * What comes from clients and sandboxes is never a document of this origin: it is an attachment, and the port has every answer but the page's sandboxed.
 */
import { z } from 'zod';
import type { Logger } from '../../telemetry/logger.ts';
import type { Elsewhere } from '../../transport/forward-requests.ts';
import type { AnyRequest, AnyResponse } from '../../transport/port.ts';
import { type HttpRoute, nothingHere, pathOf, routeRequests, sendJson } from '../../transport/routes.ts';
import { errorAnswerOf } from '../http/error-answers.ts';
import { sandboxIn } from '../http/subjects.ts';
import { nothingAt, readBody } from '../operator/requests.ts';
import { Assets } from './assets.ts';
import { Sessions, type SessionsOptions } from './sessions.ts';

export interface DashboardDeps extends SessionsOptions {
  /** Where `npm run setup` has the page. */
  readonly directory: string;
  /** Those of the server; the page uses the interfaces among them. */
  readonly routes: readonly HttpRoute[];
  readonly logger: Logger;
  /** As for `routeRequests`. */
  readonly elsewhere?: Elsewhere | undefined;
}

const PREFIX = '/dashboard';
const API = `${PREFIX}/api/`;
const ASSETS = `${PREFIX}/assets/`;
const SESSION = `${PREFIX}/session`;
const DOWNLOADS = `${PREFIX}/downloads`;
/** Prefixes of what the page asks. */
const INTERFACES = /^\/(?:skerry\/)?v1(?:\/|$)/;
/** Tells the REST key of a token, which is good for as much as the token: a script that got into the page must not have it. */
const OWN_TOKEN = '/skerry/v1/token';

const signInSchema = z.strictObject({ token: z.string().max(300) });
const downloadSchema = z.strictObject({
  path: z.string().max(3500).startsWith('/'),
  name: z.string().max(500),
});

const NOT_BUILT =
  'This server has no dashboard: `npm run setup` builds it. Everything else of the server is there.\n';

/** The routes of the page; they never reject. */
export function dashboardRoutes(deps: DashboardDeps): HttpRoute[] {
  const { logger } = deps;
  const sessions = new Sessions(deps);
  const assets = new Assets(deps.directory);
  const forward = routeRequests({
    routes: deps.routes.filter(({ prefix }) => INTERFACES.test(prefix)),
    ...{ logger, sandboxIn, elsewhere: deps.elsewhere },
    rpc: { owns: () => false, handle: () => {} },
  });

  /** Has another interface answer, which sees the token in the place of the session. */
  function forwardAs(token: string, path: string, request: AnyRequest, response: AnyResponse): void {
    request.url = path;
    const asked = pathOf(request);
    if (!INTERFACES.test(asked) || asked === OWN_TOKEN) throw nothingAt(request);
    request.headers.authorization = `Bearer ${token}`;
    delete request.headers.cookie;
    forward(request, response);
  }

  /** What is to be answered; undefined once the answer is another's. */
  async function answer(request: AnyRequest, response: AnyResponse): Promise<object | undefined> {
    const path = pathOf(request);
    if (path.startsWith(API)) {
      const token = sessions.tokenOf(request);
      response.setHeader('content-disposition', 'attachment');
      forwardAs(token, (request.url ?? '').slice(API.length - 1), request, response);
      return undefined;
    }
    switch (`${request.method} ${path}`) {
      case `POST ${SESSION}`: {
        const { token } = await readBody(request, signInSchema);
        const { setCookie, key, identity } = sessions.begin(request, token.trim());
        response.setHeader('set-cookie', setCookie);
        return { key, ...identity };
      }
      case `DELETE ${SESSION}`:
        response.setHeader('set-cookie', sessions.end(request));
        return {};
      case `POST ${DOWNLOADS}`: {
        const { path, name } = await readBody(request, downloadSchema);
        return { url: `${DOWNLOADS}/${sessions.ticket(request, path, name)}` };
      }
    }
    if (request.method === 'GET' && path.startsWith(`${DOWNLOADS}/`)) {
      const { token, ...file } = sessions.redeem(request, path.slice(DOWNLOADS.length + 1));
      response.setHeader('content-disposition', `attachment; filename*=UTF-8''${encoded(file.name)}`);
      forwardAs(token, file.path, request, response);
      return undefined;
    }
    throw nothingAt(request);
  }

  return [
    {
      prefix: '/',
      handle(request, response) {
        if (pathOf(request) !== '/') return nothingHere(response);
        if (assets.send('index.html', request, response)) return;
        response.statusCode = 404;
        response.setHeader('content-type', 'text/plain; charset=utf-8');
        response.end(NOT_BUILT);
      },
    },
    {
      prefix: ASSETS,
      handle(request, response) {
        if (!assets.send(pathOf(request).slice(ASSETS.length), request, response)) nothingHere(response);
      },
    },
    {
      prefix: PREFIX,
      here: true, // what it asks as whoever is signed in may be another server's to answer
      async handle(request, response) {
        try {
          const given = await answer(request, response);
          if (given) sendJson(response, 200, given);
        } catch (thrown) {
          const { status, body } = errorAnswerOf(thrown);
          if (status === 500) logger.error({ err: thrown }, 'dashboard.request-failed');
          sendJson(response, status, body);
        }
      },
    },
  ];
}

/** For `filename*` (RFC 8187, section 3.2). */
const encoded = (name: string): string =>
  encodeURIComponent(name.replaceAll(/[\p{Cc}/\\]/gu, '_').toWellFormed()).replaceAll(
    /['()*]/g,
    (each) => `%${each.charCodeAt(0).toString(16)}`,
  );
