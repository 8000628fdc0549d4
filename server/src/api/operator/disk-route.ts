/**
 * What the `skerry` command asks about room on the disk, as JSON over HTTP. Removing needs the scope `admin`.
 *
 *   GET  disk        what takes how much
 *   POST disk/prune  {dryRun, unusedForMs}: removes what nobody uses now, within the bounds of the configuration and that one
 */
import { z } from 'zod';
import type { Collector } from '../../storage/collector.ts';
import { diskUse } from '../../storage/disk-use.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { AnyRequest } from '../../transport/port.ts';
import { type HttpRoute, pathOf } from '../../transport/routes.ts';
import { nothingAt, OPERATOR_PREFIX, type OperatorAuth, operatorRoute, readBody } from './requests.ts';

export interface DiskRouteDeps {
  readonly tokens: OperatorAuth;
  readonly collector: Collector;
  readonly dataDir: string;
  readonly logger: Logger;
}

const PREFIX = `${OPERATOR_PREFIX}/disk`;

const pruneSchema = z.strictObject({
  dryRun: z.boolean().default(false),
  unusedForMs: z.number().min(0).optional(),
});

/** The routes of the disk; they never reject. */
export function diskRoute({ tokens, collector, dataDir, logger }: DiskRouteDeps): HttpRoute {
  return operatorRoute(PREFIX, { logger, tokens, needed: 'admin' }, async (request: AnyRequest) => {
    const path = pathOf(request);
    if (path === PREFIX && request.method === 'GET') return diskUse(dataDir, collector);
    if (path === `${PREFIX}/prune` && request.method === 'POST') {
      const { dryRun, unusedForMs } = await readBody(request, pruneSchema);
      return collector.collect({ dryRun, ...(unusedForMs !== undefined && { unusedForMs }) });
    }
    throw nothingAt(request);
  });
}
