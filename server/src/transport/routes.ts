/** Hands each HTTP request to the API that owns its path. */
import { toSkerryError } from '../errors/skerry-error.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type Elsewhere, RequestForwarder } from './forward-requests.ts';
import type { AnyRequest, AnyResponse, RequestListener } from './port.ts';

export interface HttpRoute {
  /** Path this handler owns with everything below it, such as `/v1` or `/` (which takes what no other prefix does). */
  readonly prefix: string;
  handle(request: AnyRequest, response: AnyResponse): void | Promise<void>;
  /** True for what each of several servers answers itself: about itself, or as what it then has another one answer. */
  readonly here?: boolean;
}

/** An API that tells by more than the path which requests are its own; asked before the prefixes. */
export interface RpcRoute {
  owns(request: AnyRequest): boolean;
  handle(request: AnyRequest, response: AnyResponse): void;
}

/** The path of a request without its query. */
export function pathOf(request: AnyRequest): string {
  const url = request.url ?? '/';
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}

/** The longest matching prefix wins. A handler that fails before it answered gives a 500 without details; these are logged. */
export function routeRequests(options: {
  readonly rpc: RpcRoute;
  readonly routes: readonly HttpRoute[];
  readonly logger: Logger;
  /** Which requests are other servers' to answer; none where there is no other. The API above needs the same. */
  readonly elsewhere?: Elsewhere | undefined;
  /** What stands for the sandbox that a path is about. */
  readonly sandboxIn?: (path: string) => string | undefined;
}): RequestListener {
  const { elsewhere, sandboxIn } = options;
  const routes = options.routes
    .map((route) => ({ route, base: route.prefix.replace(/\/+$/, '') }))
    .sort((a, b) => b.base.length - a.base.length);

  function failed(response: AnyResponse, path: string, thrown: unknown): void {
    const { code, message } = toSkerryError(thrown);
    options.logger.error({ path, code, error: message }, 'http handler failed');
    if (response.headersSent) response.destroy();
    else
      sendJson(response, 500, {
        error: { code: 'internal', message: 'Something failed in Skerry; its log has the details.' },
      });
  }

  /** Has another server answer, if it is to be one; false leaves the request untouched. */
  function isForwarded(request: AnyRequest, response: AnyResponse, path: string, to: Elsewhere): boolean {
    const sandbox = sandboxIn?.(path);
    const gone = new AbortController();
    const notForwarded = (thrown: unknown) => {
      const { code, kind, message } = toSkerryError(thrown);
      if (code === 'internal') return failed(response, path, thrown);
      if (response.headersSent) return void response.destroy();
      if (kind.retryable) response.setHeader('retry-after', '1');
      sendJson(response, kind.http, { error: { code, message } });
    };
    try {
      const about = sandbox === undefined ? [] : [sandbox];
      const peer = RequestForwarder.peerFor(request, about, `${request.method} ${path}`, to);
      if (!peer) return false;
      response.once('close', () => gone.abort());
      to.forwarder.forward(request, response, peer, { signal: gone.signal }).catch((error: unknown) => {
        if (gone.signal.aborted) return;
        options.logger.debug({ path, err: error }, 'request not answered elsewhere');
        notForwarded(error);
      });
    } catch (error) {
      notForwarded(error);
    }
    return true;
  }

  return (request, response) => {
    elsewhere?.forwarder.receive(request, response);
    if (options.rpc.owns(request)) return options.rpc.handle(request, response);
    const path = pathOf(request);
    const match = routes.find(({ base }) => path === base || path.startsWith(`${base}/`));
    // Whatever clients or sandboxes put into an answer, no browser takes it for a page of this origin. Who serves one says so itself.
    response.setHeader('content-security-policy', "sandbox; default-src 'none'; frame-ancestors 'none'");
    response.setHeader('x-content-type-options', 'nosniff');
    // HTTP/1.1 has requests of other forms, which are nobody's; an HTTP/2 connection to a peer could not take them.
    const mayForward = path.startsWith('/') && !match?.route.here;
    if (elsewhere && mayForward && isForwarded(request, response, path, elsewhere)) return;
    if (!match) return nothingHere(response);
    const fail = (error: unknown) => failed(response, path, error);
    try {
      Promise.resolve(match.route.handle(request, response)).catch(fail);
    } catch (error) {
      fail(error);
    }
  };
}

/** Answers that there is nothing at a path. */
export const nothingHere = (response: AnyResponse): void =>
  sendJson(response, 404, { error: { code: 'not-found', message: 'There is nothing here.' } });

/** Answers with JSON, which nobody keeps. */
export function sendJson(response: AnyResponse, status: number, body: unknown): void {
  response.statusCode = status;
  response.setHeader('content-type', 'application/json');
  response.setHeader('cache-control', 'no-store');
  response.end(JSON.stringify(body));
}
