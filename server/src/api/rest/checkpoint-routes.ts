/** Sandboxes that go on where others are, or were: copies, checkpoints, and those that sleep. */
import type { FastifyRequest } from 'fastify';
import type { MemorySnapshotId } from '../../ids.ts';
import type { MemorySnapshot } from '../../sandboxes/memory-snapshots.ts';
import type { Sandbox } from '../../sandboxes/sandboxes.ts';
import { asCaller, countCreates, sandboxKeyFor } from '../http/caller.ts';
import { toldWhy, whileRunning } from '../http/commands.ts';
import { hangUpSignal } from '../http/event-stream.ts';
import { answers, type HttpApp, openSandbox, type RouteParts, sandboxParams } from '../http/routes.ts';
import { sandboxInfoOf } from './sandbox-routes.ts';
import {
  checkpointInfo,
  checkpointInfos,
  checkpointParams,
  forkMade,
  forkRequest,
  nothing,
  restoreRequest,
  rollbackRequest,
  sandboxInfo,
} from './schemas.ts';

export function checkpointRoutes(app: HttpApp, parts: RouteParts): void {
  const { auth, sandboxes } = parts;
  const common = { tags: ['Checkpoints'], security: [{ apiToken: [] }] };
  const describe = (request: FastifyRequest, sandbox: Sandbox) =>
    sandboxInfoOf(sandbox, sandboxKeyFor(request, auth, sandbox.id));

  app.post(
    '/sandboxes/:sandboxId/fork',
    {
      schema: {
        ...common,
        operationId: 'forkSandbox',
        summary: 'Make running copies of it, with the memory of its programs: all of them, or none.',
        params: sandboxParams,
        body: forkRequest,
        response: answers({ 201: forkMade }, 404, 409, 410, 425, 429, 501, 503),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      const { count, tags } = request.body;
      countCreates(request, auth, count);
      const copies = Array.from({ length: count }, () => ({
        ...asCaller(request),
        ...(tags && { tags }),
      }));
      const made = await whileRunning(sandbox, signal, () => sandboxes.fork(sandbox.id, copies, signal));
      return reply.code(201).send({ sandboxes: made.map((copy) => describe(request, copy)) });
    },
  );

  app.post(
    '/sandboxes/:sandboxId/checkpoints',
    {
      schema: {
        ...common,
        operationId: 'makeCheckpoint',
        summary: 'Keep its memory and its files as they are now. It goes on running.',
        params: sandboxParams,
        response: answers({ 201: checkpointInfo }, 404, 409, 410, 425, 501, 503),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      const id = await whileRunning(sandbox, signal, () => sandbox.keepMemory(signal));
      return reply.code(201).send(checkpointOf(sandboxes.memorySnapshot(id)));
    },
  );

  app.get(
    '/sandboxes/:sandboxId/checkpoints',
    {
      schema: {
        ...common,
        operationId: 'listCheckpoints',
        summary: 'What was kept of it and has not expired.',
        params: sandboxParams,
        response: answers({ 200: checkpointInfos }, 404),
      },
    },
    async (request, reply) => {
      const { sandbox } = openSandbox(parts, request, reply);
      return { checkpoints: sandboxes.memorySnapshots(sandbox.id).map(checkpointOf) };
    },
  );

  app.post(
    '/sandboxes/:sandboxId/rollback',
    {
      schema: {
        ...common,
        operationId: 'rollBackSandbox',
        summary: 'Have it go on where it was at one of its checkpoints. Answers when it runs.',
        params: sandboxParams,
        body: rollbackRequest,
        response: answers({ 200: sandboxInfo }, 404, 409, 410, 425, 501, 503),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      try {
        await sandboxes.rollBack(sandbox.id, asCheckpoint(request.body.checkpointId), signal);
      } catch (error) {
        throw await toldWhy(error, sandbox, signal, ' meanwhile');
      }
      return describe(request, sandbox);
    },
  );

  app.post(
    '/checkpoints/:checkpointId/restore',
    {
      schema: {
        ...common,
        operationId: 'restoreCheckpoint',
        summary: 'Make a sandbox that goes on from a checkpoint. It may still be starting when this answers.',
        params: checkpointParams,
        body: restoreRequest,
        response: answers({ 201: sandboxInfo }, 404, 409, 429, 501, 503),
      },
    },
    async (request, reply) => {
      const { name } = request.body;
      const options = { ...asCaller(request), ...(name !== undefined && { name: name ?? undefined }) };
      countCreates(request, auth);
      const made = await sandboxes.restore(asCheckpoint(request.params.checkpointId), options);
      return reply.code(201).send(describe(request, made));
    },
  );

  app.delete(
    '/checkpoints/:checkpointId',
    {
      schema: {
        ...common,
        operationId: 'deleteCheckpoint',
        summary: 'Forget a checkpoint. Sandboxes that went on from it go on.',
        params: checkpointParams,
        response: answers({ 200: nothing }, 404),
      },
    },
    async (request) => {
      await sandboxes.deleteMemorySnapshot(asCheckpoint(request.params.checkpointId));
      return {};
    },
  );

  app.post(
    '/sandboxes/:sandboxId/suspend',
    {
      schema: {
        ...common,
        operationId: 'suspendSandbox',
        summary: 'Keep it on the disk alone, until something is asked of it that needs it to run.',
        params: sandboxParams,
        response: answers({ 200: sandboxInfo }, 404, 409, 410, 425, 501, 503),
      },
    },
    async (request, reply) => {
      // Not opened: a request that is under way is activity, and one in use does not sleep.
      const sandbox = sandboxes.get(request.params.sandboxId as Sandbox['id']); // any text may be asked for
      const signal = hangUpSignal(reply, parts.closing);
      await whileRunning(sandbox, signal, () => sandbox.suspend(signal));
      return describe(request, sandbox);
    },
  );

  app.post(
    '/sandboxes/:sandboxId/resume',
    {
      schema: {
        ...common,
        operationId: 'resumeSandbox',
        summary: 'Wake it before something needs it. No effect on one that runs.',
        params: sandboxParams,
        response: answers({ 200: sandboxInfo }, 404, 410, 425, 503),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      await whileRunning(sandbox, signal, () => sandbox.waitUntilAwake(signal));
      return describe(request, sandbox);
    },
  );
}

/** Any text may be looked up. */
const asCheckpoint = (text: string) => text as MemorySnapshotId;

const checkpointOf = ({ id, createdAtMs, expiresAtMs }: MemorySnapshot) => ({
  id,
  createdAt: new Date(createdAtMs).toISOString(),
  expiresAt: new Date(expiresAtMs).toISOString(),
});
