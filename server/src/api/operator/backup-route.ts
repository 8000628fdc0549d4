/**
 * What `skerry backup` asks, as JSON over HTTP. It is the owner's.
 *
 *   POST backup  {directory}: copies what outlasts sandboxes into a directory of the server's machine that was prepared for it
 */
import { z } from 'zod';
import { Limiter } from '../../platform/limiter.ts';
import { type BackupParts, backUp } from '../../storage/backup.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { type HttpRoute, pathOf } from '../../transport/routes.ts';
import { nothingAt, OPERATOR_PREFIX, type OperatorAuth, operatorRoute, readBody } from './requests.ts';

export interface BackupRouteDeps extends BackupParts {
  readonly tokens: OperatorAuth;
  readonly logger: Logger;
}

const PREFIX = `${OPERATOR_PREFIX}/backup`;

const requestSchema = z.strictObject({ directory: z.string().startsWith('/').max(2048) });

/** The route; it never rejects. */
export function backupRoute({ tokens, logger, ...parts }: BackupRouteDeps): HttpRoute {
  const one = new Limiter(1);
  return operatorRoute(PREFIX, { logger, tokens, needed: 'admin' }, async (request) => {
    if (pathOf(request) !== PREFIX || request.method !== 'POST') throw nothingAt(request);
    const { directory } = await readBody(request, requestSchema);
    const startedAt = performance.now();
    const made = await one.run(() => backUp(directory, parts));
    logger.info({ ...made, durationMs: Math.round(performance.now() - startedAt) }, 'backup.made');
    return made;
  });
}
