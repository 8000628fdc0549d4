/**
 * The machine and what bounds its sandboxes, for whoever looks after it, as JSON over HTTP.
 *
 *   GET machine  how busy it is, and the bounds of the server's configuration
 */
import { availableParallelism, freemem, loadavg, totalmem } from 'node:os';
import type { Logger } from '../../telemetry/logger.ts';
import { type HttpRoute, pathOf } from '../../transport/routes.ts';
import { nothingAt, OPERATOR_PREFIX, type OperatorAuth, operatorRoute } from './requests.ts';

export interface MachineRouteDeps {
  readonly tokens: OperatorAuth;
  readonly version: string;
  /** How many sandboxes have not ended. */
  readonly sandboxes: () => number;
  readonly maxSandboxes: number;
  /** Settings that bound something, as they are to be shown. */
  readonly limits: readonly object[];
  readonly logger: Logger;
}

const PREFIX = `${OPERATOR_PREFIX}/machine`;

/** The route; it never rejects. */
export function machineRoute({ tokens, logger, sandboxes, ...fixed }: MachineRouteDeps): HttpRoute {
  return operatorRoute(PREFIX, { logger, tokens, needed: 'admin' }, async (request) => {
    if (pathOf(request) !== PREFIX || request.method !== 'GET') throw nothingAt(request);
    const [load = 0] = loadavg();
    return {
      ...fixed,
      sandboxes: sandboxes(),
      processors: availableParallelism(),
      /** Programs that run or wait to, on average of the last minute. */
      load,
      memoryBytes: totalmem(),
      freeMemoryBytes: freemem(),
    };
  });
}
