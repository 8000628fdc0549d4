/**
 * What the machine must have, for whoever looks after it, as JSON over HTTP.
 *
 *   GET checks  what the engine needs of the machine, found or not: the part of `skerry doctor` that a server knows of itself
 */
import type { Logger } from '../../telemetry/logger.ts';
import { type HttpRoute, pathOf } from '../../transport/routes.ts';
import { nothingAt, OPERATOR_PREFIX, type OperatorAuth, operatorRoute } from './requests.ts';

export interface ChecksRouteDeps {
  readonly tokens: OperatorAuth;
  readonly check: () => Promise<readonly object[]>;
  readonly logger: Logger;
}

const PREFIX = `${OPERATOR_PREFIX}/checks`;

/** The route; it never rejects. */
export function checksRoute({ tokens, check, logger }: ChecksRouteDeps): HttpRoute {
  return operatorRoute(PREFIX, { logger, tokens, needed: 'admin' }, async (request) => {
    if (pathOf(request) !== PREFIX || request.method !== 'GET') throw nothingAt(request);
    return { checks: await check() };
  });
}
