/**
 * What the `skerry` command asks a server about environments, as JSON over HTTP below `/skerry/v1`, with the scope `admin` but for looking.
 *
 *   GET environments                those that there are, each with its quotas and what its sandboxes take
 *   PUT environments/<name>/quotas  {maxSandboxes, …}: in the place of those it has; none of them takes all away
 */
import type { Apps } from '../../apps/apps.ts';
import type { EnvironmentQuotas } from '../../auth/environment-quotas.ts';
import { quotasSchema } from '../../auth/quotas.ts';
import type { EnvironmentId } from '../../ids.ts';
import type { Taken } from '../../sandboxes/quotas.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { type HttpRoute, pathOf } from '../../transport/routes.ts';
import { nothingAt, OPERATOR_PREFIX, type OperatorAuth, operatorRoute, readBody } from './requests.ts';

export interface EnvironmentRouteDeps {
  readonly tokens: OperatorAuth;
  readonly apps: Pick<Apps, 'environment' | 'environments'>;
  readonly quotas: Pick<EnvironmentQuotas, 'of' | 'set'>;
  /** What the sandboxes of an environment take. */
  readonly takenIn: (id: EnvironmentId) => Taken;
  readonly logger: Logger;
}

const PREFIX = `${OPERATOR_PREFIX}/environments`;
/** What a name may hold: `checkEnvironmentName` says which there are. */
const QUOTAS_OF = /^\/([A-Za-z0-9_-]{1,64})\/quotas$/;

/** The routes; they never reject. */
export function environmentRoute(deps: EnvironmentRouteDeps): HttpRoute {
  const { tokens, apps, quotas, takenIn, logger } = deps;
  return operatorRoute(PREFIX, { logger, tokens, needed: 'admin' }, async (request, _signal, { tokenId }) => {
    const path = pathOf(request).slice(PREFIX.length);
    if (path === '' && request.method === 'GET') {
      const environments = apps.environments().map(({ id, name, createdAtMs, isDefault }) => ({
        ...{ name, createdAtMs, isDefault },
        ...{ quotas: quotas.of(id), taken: takenIn(id) },
      }));
      return { environments };
    }
    const name = QUOTAS_OF.exec(path)?.[1];
    if (name !== undefined && request.method === 'PUT') {
      const { id } = apps.environment(name);
      const wanted = await readBody(request, quotasSchema.strict());
      quotas.set(id, wanted);
      logger.info({ environment: name, quotas: wanted, by: tokenId }, 'environment.quotas');
      return { name, quotas: wanted };
    }
    throw nothingAt(request);
  });
}
