/**
 * What the `skerry` command asks about checkpoints, whichever sandboxes they were taken of, as JSON over HTTP. Both are the owner's.
 *
 *   GET    checkpoints       all that have not expired
 *   DELETE checkpoints/<id>  removes one
 */
import type { MemorySnapshotId } from '../../ids.ts';
import type { MemorySnapshot } from '../../sandboxes/memory-snapshots.ts';
import type { Sandboxes } from '../../sandboxes/sandboxes.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { type HttpRoute, pathOf } from '../../transport/routes.ts';
import { nothingAt, OPERATOR_PREFIX, type OperatorAuth, operatorRoute } from './requests.ts';

export interface CheckpointRouteDeps {
  readonly tokens: OperatorAuth;
  readonly sandboxes: Pick<Sandboxes, 'memorySnapshots' | 'deleteMemorySnapshot'>;
  readonly logger: Logger;
}

const PREFIX = `${OPERATOR_PREFIX}/checkpoints`;

/** The routes of checkpoints; they never reject. */
export function checkpointRoute({ tokens, sandboxes, logger }: CheckpointRouteDeps): HttpRoute {
  return operatorRoute(PREFIX, { logger, tokens, needed: 'sandboxes' }, async (request) => {
    const [id = '', ...more] = pathOf(request)
      .slice(PREFIX.length + 1)
      .split('/');
    if (request.method === 'GET' && id === '') return checkpointsAnswer(sandboxes.memorySnapshots());
    if (request.method === 'DELETE' && more.length === 0) {
      await sandboxes.deleteMemorySnapshot(id as MemorySnapshotId); // any text may be looked up
      return { id };
    }
    throw nothingAt(request);
  });
}

export const checkpointsAnswer = (taken: readonly MemorySnapshot[]) => ({
  checkpoints: taken.map(({ id, sandboxId, createdAtMs, expiresAtMs }) => ({
    ...{ id, sandbox: sandboxId, createdAtMs, expiresAtMs },
  })),
});
