/**
 * What the `skerry` command asks about single sandboxes, as JSON over HTTP.
 *
 *   POST sandboxes/<which>/fork         {count, name?}: running copies, with the memory of its programs
 *   POST sandboxes/<which>/checkpoints  {}: keeps its memory and files as they are
 *   GET  sandboxes/<which>/checkpoints  those that were taken of it
 *   POST sandboxes/<which>/suspend      keeps it on the disk until somebody needs it
 *   POST sandboxes/<which>/rollback     {checkpoint}: has it go on from one of these
 *
 * `<which>` is a sandbox id, a Modbox task id, or the name of a running sandbox that no other has.
 */
import { z } from 'zod';
import type { TokenStore } from '../../auth/token-store.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { MemorySnapshotId } from '../../ids.ts';
import type { Provisioner } from '../../sandboxes/provisioner.ts';
import type { Sandbox, Sandboxes } from '../../sandboxes/sandboxes.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { AnyRequest } from '../../transport/port.ts';
import { type HttpRoute, pathOf } from '../../transport/routes.ts';
import { MAX_COPIES, objectName } from '../http/fields.ts';
import { checkpointsAnswer } from './checkpoint-route.ts';
import { nothingAt, OPERATOR_PREFIX, type OperatorAuth, operatorRoute, readBody } from './requests.ts';

export interface SandboxRouteDeps {
  readonly tokens: OperatorAuth & Pick<TokenStore, 'countCreates'>;
  readonly sandboxes: Pick<Sandboxes, 'list' | 'memorySnapshots' | 'rollBack'>;
  readonly provisioner: Pick<Provisioner, 'find' | 'fork'>;
  readonly logger: Logger;
}

const PREFIX = `${OPERATOR_PREFIX}/sandboxes`;
/** The caller may be gone by then, and what was asked for is done all the same. */
const CALL_TIMEOUT_MS = 15 * 60_000;

const forkSchema = z.strictObject({
  count: z.int().min(1).max(MAX_COPIES).default(1),
  name: objectName.optional(),
});

const rollBackSchema = z.strictObject({ checkpoint: z.string().max(64) });

/** The routes of sandboxes; they never reject. */
export function sandboxRoute({ tokens, sandboxes, provisioner, logger }: SandboxRouteDeps): HttpRoute {
  return operatorRoute(
    PREFIX,
    { logger, tokens, needed: 'sandboxes' },
    async (request: AnyRequest, _signal, { tokenId }) => {
      const path = pathOf(request);
      const [which = '', what = '', ...more] = path.slice(PREFIX.length + 1).split('/');
      const call = more.length === 0 ? `${request.method} ${what}` : '';
      const signal = AbortSignal.timeout(CALL_TIMEOUT_MS);
      if (call === 'POST fork') {
        const { count, name } = await readBody(request, forkSchema);
        const sandbox = find(which);
        const copies = Array.from({ length: count }, (_, index) =>
          name === undefined ? {} : { name: count === 1 ? name : `${name}-${index + 1}` },
        );
        tokens.countCreates(tokenId, count);
        const made = await provisioner.fork(sandbox, copies, signal, { tokenId });
        return { sandboxes: made.map((copy) => ({ id: copy.id, name: copy.name })) };
      }
      if (call === 'POST checkpoints') {
        await readBody(request, z.strictObject({}));
        return { id: await find(which).keepMemory(signal) };
      }
      if (call === 'GET checkpoints') {
        return checkpointsAnswer(sandboxes.memorySnapshots(find(which).id));
      }
      if (call === 'POST suspend') {
        const sandbox = find(which);
        await sandbox.suspend(signal);
        return { id: sandbox.id };
      }
      if (call === 'POST rollback') {
        const { checkpoint } = await readBody(request, rollBackSchema);
        const { id } = find(which);
        await sandboxes.rollBack(id, checkpoint as MemorySnapshotId, signal); // any text may be looked up
        return { id };
      }
      throw nothingAt(request);
    },
  );

  /** @throws SkerryError `not-found`; `conflict` for a name of several */
  function find(encoded: string): Sandbox {
    const which = decoded(encoded);
    const named = sandboxes
      .list({ limit: Number.MAX_SAFE_INTEGER })
      .filter(({ name }) => name !== undefined && name === which);
    const [first, second] = named;
    if (second) {
      throw new SkerryError('conflict', `Several running sandboxes are named '${which}': use the id of one.`);
    }
    return first ?? provisioner.find(which);
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new SkerryError('invalid-argument', 'The path is no URL.');
  }
}
