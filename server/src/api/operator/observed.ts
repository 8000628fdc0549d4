/** Tells of requests of the `skerry` command once they are over. */
import type { CallListener } from '../../telemetry/calls.ts';
import { headerOf, type Tracing, within } from '../../telemetry/tracing.ts';
import type { AnyRequest } from '../../transport/port.ts';
import { type HttpRoute, pathOf } from '../../transport/routes.ts';

const METHODS: ReadonlySet<string> = new Set(['GET', 'POST', 'PUT', 'DELETE']);
/** Ids and names of ours; everything else in a path is its sender's. */
const PATH = /^[\w/.:%-]{1,200}$/;

/** The same route; its requests are told of by its prefix, and what they were about by their paths. */
export function observed(route: HttpRoute, onCall: CallListener, tracing?: Tracing): HttpRoute {
  return {
    ...route,
    handle(request, response) {
      const startedAt = performance.now();
      const span = tracing?.begin((name) => headerOf(request, name));
      const { method = '' } = request;
      const path = pathOf(request);
      response.once('close', () =>
        onCall({
          api: 'operator',
          method: `${METHODS.has(method) ? method : 'other'} ${route.prefix}`,
          status: String(response.statusCode),
          durationMs: performance.now() - startedAt,
          caller: response.statusCode === 401 ? undefined : tokenIdIn(request),
          subjects: path !== route.prefix && PATH.test(path) ? { path } : {},
          ...(span && { span }),
        }),
      );
      return within(span, () => route.handle(request, response));
    },
  };
}

/** The route has looked whether it is that token's secret. */
const tokenIdIn = ({ headers }: AnyRequest): string | undefined =>
  /^Bearer (ak-[0-9A-Za-z]{1,64}):/i.exec(headers.authorization ?? '')?.[1];
