/**
 * Where the server has its records, for whoever looks after it, as JSON over HTTP.
 *
 *   GET records  which database, its version, how long it takes to answer, and what is wrong with it; where several servers share it and the work, these
 */
import type { Logger } from '../../telemetry/logger.ts';
import { type HttpRoute, pathOf } from '../../transport/routes.ts';
import { nothingAt, OPERATOR_PREFIX, type OperatorAuth, operatorRoute } from './requests.ts';

export interface RecordsRouteDeps {
  readonly tokens: OperatorAuth;
  readonly check: () => Promise<object>;
  /** Undefined where this one has all the work. */
  readonly servers?: (() => readonly object[]) | undefined;
  readonly logger: Logger;
}

const PREFIX = `${OPERATOR_PREFIX}/records`;

/** The route; it never rejects. */
export function recordsRoute({ tokens, check, servers, logger }: RecordsRouteDeps): HttpRoute {
  return operatorRoute(PREFIX, { logger, tokens, needed: 'admin' }, async (request) => {
    if (pathOf(request) !== PREFIX || request.method !== 'GET') throw nothingAt(request);
    return { records: await check(), ...(servers && { servers: servers() }) };
  });
}
