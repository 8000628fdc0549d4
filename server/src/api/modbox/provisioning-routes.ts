/** `/modbox/v1/…`: making, finding and ending sandboxes, with the API token. */
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { MemorySnapshotId } from '../../ids.ts';
import type { DefaultImage, DefaultImageState } from '../../images/default-image.ts';
import type { MemorySnapshot } from '../../sandboxes/memory-snapshots.ts';
import {
  type Provision,
  ProvisionConflict,
  type Provisioner,
  type ProvisionPart,
} from '../../sandboxes/provisioner.ts';
import type { Sandbox } from '../../sandboxes/sandboxes.ts';
import { asCaller, baseUrlOf, countCreates, requireToken, sandboxKeyFor } from '../http/caller.ts';
import { requireRunning } from '../http/commands.ts';
import { hangUpSignal } from '../http/event-stream.ts';
import { answers, type HttpApp, type RouteParts } from '../http/routes.ts';
import { pageOf, statusOf } from '../http/sandbox-answers.ts';
import { networkPolicy, openPorts, secretHeaderSpecs, volumeRequests } from '../http/sandbox-fields.ts';
import { noteMade } from '../http/subjects.ts';
import {
  type CheckpointAnswer,
  checkpointAnswer,
  checkpointList,
  type DefaultImageAnswer,
  defaultImageAnswer,
  forkAnswer,
  forkRequest,
  listQuery,
  type ProvisionRequest,
  provisionRequest,
  rollbackRequest,
  type SandboxAnswer,
  sandboxAnswer,
  sandboxList,
  waitQuery,
} from './schemas.ts';

// Looser than what may be provisioned: sandbox ids are accepted too.
const taskParams = z.object({ taskId: z.string().min(1).max(512) });

export interface ModboxParts extends RouteParts {
  readonly provisioner: Provisioner;
  /** The image of sandboxes that name none. */
  readonly defaultImage: DefaultImage;
}

export function provisioningRoutes(app: HttpApp, parts: ModboxParts): void {
  const { auth, provisioner, defaultImage } = parts;
  app.addHook('onRequest', async (request, reply) => requireToken(request, reply, auth));
  const describe = (request: FastifyRequest, sandbox: Sandbox) =>
    sandboxAnswerOf(sandbox, baseUrlOf(request), sandboxKeyFor(request, auth, sandbox.id));
  const common = { tags: ['Sandboxes'], security: [{ apiToken: [] }] };

  app.post(
    '/sandboxes',
    {
      schema: {
        ...common,
        operationId: 'provisionSandbox',
        summary: 'Make a sandbox, or get the running one of that task id when its definition is the same.',
        body: provisionRequest,
        response: answers({ 200: sandboxAnswer, 201: sandboxAnswer }, 404, 409, 413, 422, 429, 503),
      },
    },
    async (request, reply) => {
      countCreates(request, auth);
      const signal = hangUpSignal(reply, parts.closing);
      const { sandbox, created } = await provisioner
        .provision(toProvision(request.body), signal, asCaller(request))
        .catch((error: unknown) => {
          throw error instanceof ProvisionConflict ? conflictAnswer(error) : error;
        });
      noteMade(request, sandbox.id);
      return reply.code(created ? 201 : 200).send(describe(request, sandbox));
    },
  );

  app.get(
    '/sandboxes',
    {
      schema: {
        ...common,
        operationId: 'listSandboxes',
        summary: 'List sandboxes made by Modbox, newest first.',
        querystring: listQuery,
        response: answers({ 200: sandboxList }),
      },
    },
    async (request) => {
      const { includeEnded, limit, cursor } = request.query;
      const beforeMs = cursor === undefined ? undefined : Number(cursor);
      // One more than asked for tells whether there is a next page.
      const found = provisioner.list({ includeEnded, limit: limit + 1, beforeMs });
      return pageOf(found, limit, (sandbox) => describe(request, sandbox));
    },
  );

  app.get(
    '/sandboxes/:taskId',
    {
      schema: {
        ...common,
        operationId: 'getSandbox',
        summary:
          'A sandbox by task id (running, or the newest that ended) or by sandbox id, whoever made it.',
        params: taskParams,
        response: answers({ 200: sandboxAnswer }, 404),
      },
    },
    async (request) => describe(request, provisioner.find(request.params.taskId)),
  );

  app.get(
    '/sandboxes/:taskId/wait',
    {
      schema: {
        ...common,
        operationId: 'waitForSandbox',
        summary: 'Wait until it runs. 425 when the time passes first: ask again.',
        params: taskParams,
        querystring: waitQuery,
        response: answers({ 200: sandboxAnswer }, 404, 410, 425),
      },
    },
    async (request, reply) => {
      const sandbox = provisioner.find(request.params.taskId);
      const signal = hangUpSignal(reply, parts.closing);
      await requireRunning(sandbox, signal, request.query.timeoutSeconds * 1000);
      return describe(request, sandbox);
    },
  );

  app.post(
    '/sandboxes/:taskId/fork',
    {
      schema: {
        ...common,
        operationId: 'forkSandbox',
        summary:
          'Make running copies of a running sandbox, with the memory of its programs: all of them, or none.',
        params: taskParams,
        body: forkRequest,
        response: answers({ 201: forkAnswer }, 404, 409, 410, 429, 501, 503),
      },
    },
    async (request, reply) => {
      const sandbox = provisioner.find(request.params.taskId);
      const { taskIds, count = 1 } = request.body;
      const copies = taskIds?.map((taskId) => ({ taskId })) ?? Array.from({ length: count }, () => ({}));
      countCreates(request, auth, copies.length);
      const made = await provisioner.fork(
        sandbox,
        copies,
        hangUpSignal(reply, parts.closing),
        asCaller(request),
      );
      return reply.code(201).send({ sandboxes: made.map((copy) => describe(request, copy)) });
    },
  );

  app.post(
    '/sandboxes/:taskId/checkpoints',
    {
      schema: {
        ...common,
        operationId: 'createCheckpoint',
        summary: 'Keep the memory and the files of a running sandbox as they are, which goes on itself.',
        params: taskParams,
        response: answers({ 201: checkpointAnswer }, 404, 409, 410, 501, 503),
      },
    },
    async (request, reply) => {
      const sandbox = provisioner.find(request.params.taskId);
      const id = await sandbox.keepMemory(hangUpSignal(reply, parts.closing));
      return reply.code(201).send(checkpointAnswerOf(parts.sandboxes.memorySnapshot(id)));
    },
  );

  app.get(
    '/sandboxes/:taskId/checkpoints',
    {
      schema: {
        ...common,
        operationId: 'listCheckpoints',
        summary: 'What was kept of a sandbox and has not expired.',
        params: taskParams,
        response: answers({ 200: checkpointList }, 404),
      },
    },
    async (request) => {
      const { id } = provisioner.find(request.params.taskId);
      return { checkpoints: parts.sandboxes.memorySnapshots(id).map(checkpointAnswerOf) };
    },
  );

  app.delete(
    '/sandboxes/:taskId/checkpoints/:checkpointId',
    {
      schema: {
        ...common,
        operationId: 'deleteCheckpoint',
        summary: 'Remove what was kept of a sandbox. What went on from it goes on.',
        params: taskParams.extend({ checkpointId: z.string().min(1).max(64) }),
        response: answers({ 200: checkpointAnswer }, 404),
      },
    },
    async (request) => {
      const { taskId, checkpointId } = request.params;
      const { id } = provisioner.find(taskId);
      const kept = parts.sandboxes.memorySnapshots(id).find((one) => one.id === checkpointId);
      if (!kept) throw new SkerryError('not-found', `Nothing was kept of the sandbox as '${checkpointId}'.`);
      await parts.sandboxes.deleteMemorySnapshot(kept.id);
      return checkpointAnswerOf(kept);
    },
  );

  app.post(
    '/sandboxes/:taskId/rollback',
    {
      schema: {
        ...common,
        operationId: 'rollBackSandbox',
        summary: 'Have a sandbox go on where it was when a checkpoint was taken of it. Answers when it runs.',
        params: taskParams,
        body: rollbackRequest,
        response: answers({ 200: sandboxAnswer }, 404, 409, 410, 501, 503),
      },
    },
    async (request, reply) => {
      const sandbox = provisioner.find(request.params.taskId);
      const { checkpointId } = request.body;
      const signal = hangUpSignal(reply, parts.closing);
      await parts.sandboxes.rollBack(sandbox.id, checkpointId as MemorySnapshotId, signal); // any text may be looked up
      return describe(request, sandbox);
    },
  );

  app.delete(
    '/sandboxes/:taskId',
    {
      schema: {
        ...common,
        operationId: 'destroySandbox',
        summary: 'End it; answers once everything of it is gone. Ending an ended one changes nothing.',
        params: taskParams,
        response: answers({ 200: sandboxAnswer }, 404),
      },
    },
    async (request) => {
      const sandbox = provisioner.find(request.params.taskId);
      await sandbox.terminate();
      return describe(request, sandbox);
    },
  );

  app.get(
    '/images/default',
    {
      schema: {
        ...common,
        operationId: 'getDefaultImage',
        summary: 'The image of sandboxes that name none: whether it is built, and the versions in it.',
        response: answers({ 200: defaultImageAnswer }),
      },
    },
    async () => defaultImageAnswerOf(defaultImage.state),
  );

  app.post(
    '/images/default',
    {
      schema: {
        ...common,
        operationId: 'buildDefaultImage',
        summary: 'Start building it ahead of its first use. Answers at once.',
        response: answers({ 202: defaultImageAnswer }),
      },
    },
    async (_request, reply) => {
      defaultImage.ensure().catch(() => {}); // its failure is in the description
      return reply.code(202).send(defaultImageAnswerOf(defaultImage.state));
    },
  );
}

function toProvision({ taskId, imageId, ttlSeconds, ...request }: ProvisionRequest): Provision {
  const { ttlMode, idleAction, envVars, workdir, cpu = 0, memoryMiB = 0, network, inboundCidrs } = request;
  const times = { ttlMs: ttlSeconds * 1000, ttlMode, ...(idleAction && { idleAction }) };
  const limits = { milliCpu: Math.round(cpu * 1000), memoryMiB };
  return {
    taskId,
    imageId,
    ...times,
    env: envVars,
    workdir,
    ...limits,
    network: networkPolicy(network),
    ...(request.secretHeaders && { secretHeaders: secretHeaderSpecs(request.secretHeaders) }),
    volumes: volumeRequests(request.volumes),
    openPorts: openPorts(request.ports),
    inboundCidrs,
  };
}

const fields = {
  imageId: 'imageId',
  ttlMs: 'ttlSeconds',
  ttlMode: 'ttlMode',
  idleAction: 'idleAction',
  env: 'envVars',
  workdir: 'workdir',
  milliCpu: 'cpu',
  memoryMiB: 'memoryMiB',
  network: 'network',
  secretHeaders: 'secretHeaders',
  volumes: 'volumes',
  openPorts: 'ports',
  inboundCidrs: 'inboundCidrs',
} as const satisfies Record<ProvisionPart, keyof ProvisionRequest>;

/** In the request's own names. */
function conflictAnswer(error: ProvisionConflict): SkerryError {
  const differs = error.differs.map((part) => fields[part]);
  const text = `Task ${JSON.stringify(error.taskId)} has a running sandbox with another ${differs.join(', ')}. Destroy it first, or use another taskId.`;
  return new SkerryError('conflict', text, { cause: error, details: { path: differs[0], differs } });
}

function defaultImageAnswerOf(state: DefaultImageState): DefaultImageAnswer {
  const ready = state.kind === 'ready' ? state : undefined;
  return {
    status: state.kind,
    imageId: ready?.image.id ?? null,
    builtFrom: ready?.builtFrom ?? null,
    languages: [...(ready?.languages ?? [])],
    message: state.kind === 'failed' ? state.message : null,
  };
}

const checkpointAnswerOf = ({ id, createdAtMs, expiresAtMs }: MemorySnapshot): CheckpointAnswer => ({
  checkpointId: id,
  createdAt: new Date(createdAtMs).toISOString(),
  expiresAt: new Date(expiresAtMs).toISOString(),
});

function sandboxAnswerOf(sandbox: Sandbox, baseUrl: string, apiKey: string): SandboxAnswer {
  const { spec } = sandbox;
  return {
    taskId: spec.externalKey ?? sandbox.id,
    sandboxId: sandbox.id,
    status: statusOf(sandbox.state),
    isolation: sandbox.isolation ?? null,
    endReason: sandbox.state === 'ended' ? (sandbox.result?.kind ?? 'crashed') : null,
    sandboxUrl: `${baseUrl}/sandboxes/${sandbox.id}`,
    apiKey,
    imageId: spec.imageId,
    ttlSeconds: Math.round((spec.idleTimeoutMs ?? spec.timeoutMs) / 1000),
    ttlMode: spec.idleTimeoutMs === undefined ? 'absolute' : 'idle',
    createdAt: new Date(sandbox.createdAtMs).toISOString(),
    expiresAt: sandbox.state === 'ended' ? null : new Date(sandbox.deadlineMs).toISOString(),
  };
}
