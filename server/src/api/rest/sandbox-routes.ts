/** `/v1/sandboxes`: making, finding and ending sandboxes. */
import type { FastifyRequest } from 'fastify';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { SandboxId } from '../../ids.ts';
import type { Sandbox } from '../../sandboxes/sandboxes.ts';
import type { SandboxResult } from '../../sandboxes/state.ts';
import { asCaller, countCreates, requireSandboxAccess, requireToken, sandboxKeyFor } from '../http/caller.ts';
import { requireRunning } from '../http/commands.ts';
import { hangUpSignal } from '../http/event-stream.ts';
import { answers, type HttpApp, type RouteParts, sandboxParams } from '../http/routes.ts';
import { pageOf, statusOf } from '../http/sandbox-answers.ts';
import { noteMade } from '../http/subjects.ts';
import { type SandboxSpecParts, toSandboxSpec } from './sandbox-spec.ts';
import {
  DEFAULT_APP,
  listQuery,
  type SandboxInfo,
  sandboxCreate,
  sandboxInfo,
  sandboxPage,
  waitQuery,
} from './schemas.ts';

export function sandboxRoutes(app: HttpApp, parts: RouteParts, specParts: SandboxSpecParts): void {
  const { auth, sandboxes } = parts;
  const common = { tags: ['Sandboxes'], security: [{ apiToken: [] }] };
  const oneCommon = { tags: ['Sandboxes'], security: [{ sandboxKey: [] }], params: sandboxParams };
  const describe = (request: FastifyRequest, sandbox: Sandbox) =>
    sandboxInfoOf(sandbox, sandboxKeyFor(request, auth, sandbox.id));
  // Any text may be asked for; what is not a sandbox's id is not found.
  const find = (id: string) => sandboxes.get(id as SandboxId);

  app.register(async (scope: HttpApp) => {
    scope.addHook('onRequest', async (request, reply) => requireToken(request, reply, auth));

    scope.post(
      '/sandboxes',
      {
        schema: {
          ...common,
          operationId: 'createSandbox',
          summary: 'Make a sandbox. It may still be starting when this answers.',
          body: sandboxCreate,
          response: answers({ 201: sandboxInfo }, 404, 409, 413, 422, 429, 503),
        },
      },
      async (request, reply) => {
        countCreates(request, auth);
        const signal = hangUpSignal(reply, parts.closing);
        const spec = await toSandboxSpec(specParts, request.body, signal);
        const sandbox = await sandboxes.create(spec, { ...asCaller(request), anywhere: true });
        noteMade(request, sandbox.id);
        return reply.code(201).send(describe(request, sandbox));
      },
    );

    scope.get(
      '/sandboxes',
      {
        schema: {
          ...common,
          operationId: 'listSandboxes',
          summary: 'Sandboxes, whoever made them, newest first.',
          querystring: listQuery,
          response: answers({ 200: sandboxPage }, 404),
        },
      },
      async (request) => {
        const { includeEnded, limit, cursor, app: appName, name, tag: tags } = request.query;
        const appId = appName === undefined ? undefined : specParts.apps.lookup('', appName, false).id;
        if (name !== undefined) {
          const named = sandboxes.findByName(
            appId ?? specParts.apps.lookup('', DEFAULT_APP, true).id,
            name,
            includeEnded,
          );
          return pageOf(named ? [named] : [], limit, (sandbox) => describe(request, sandbox));
        }
        // One more than asked for tells whether there is a next page.
        const found = sandboxes.list({
          includeEnded,
          limit: limit + 1,
          ...(cursor !== undefined && { beforeMs: Number(cursor) }),
          ...(appId !== undefined && { appId }),
          ...(tags !== undefined && { tags }),
        });
        return pageOf(found, limit, (sandbox) => describe(request, sandbox));
      },
    );
  });

  app.register(async (scope: HttpApp) => {
    scope.addHook<{ Params: { sandboxId: string } }>('onRequest', async (request, reply) =>
      requireSandboxAccess(request, reply, auth),
    );

    scope.get(
      '/sandboxes/:sandboxId',
      {
        schema: {
          ...oneCommon,
          operationId: 'getSandbox',
          summary: 'A sandbox, running or ended.',
          response: answers({ 200: sandboxInfo }, 404),
        },
      },
      async (request) => describe(request, find(request.params.sandboxId)),
    );

    scope.get(
      '/sandboxes/:sandboxId/wait',
      {
        schema: {
          ...oneCommon,
          operationId: 'waitForSandbox',
          summary: 'Wait until it runs, or has ended. 425 when the time passes first: ask again.',
          querystring: waitQuery,
          response: answers({ 200: sandboxInfo }, 404, 410, 425),
        },
      },
      async (request, reply) => {
        const sandbox = find(request.params.sandboxId);
        const { until, timeoutSeconds } = request.query;
        const signal = hangUpSignal(reply, parts.closing);
        if (until === 'running') await requireRunning(sandbox, signal, timeoutSeconds * 1000);
        else if (!(await sandbox.wait(timeoutSeconds * 1000, signal))) {
          throw new SkerryError('not-ready', 'The sandbox has not ended.');
        }
        return describe(request, sandbox);
      },
    );

    scope.delete(
      '/sandboxes/:sandboxId',
      {
        schema: {
          ...oneCommon,
          operationId: 'terminateSandbox',
          summary: 'End it; answers once everything of it is gone. Ending an ended one changes nothing.',
          response: answers({ 200: sandboxInfo }, 404),
        },
      },
      async (request) => {
        const sandbox = find(request.params.sandboxId);
        await sandbox.terminate();
        return describe(request, sandbox);
      },
    );
  });
}

export const iso = (ms: number | undefined): string | null =>
  ms === undefined ? null : new Date(ms).toISOString();

export function sandboxInfoOf(sandbox: Sandbox, key: string): SandboxInfo {
  const { spec, state } = sandbox;
  return {
    id: sandbox.id,
    name: sandbox.name ?? null,
    tags: { ...sandbox.tags },
    status: statusOf(state),
    result: sandbox.result ? resultOf(sandbox.result) : null,
    isolation: sandbox.isolation ?? null,
    imageId: spec.imageId,
    hasCommand: spec.noEntrypoint !== true,
    timeoutSeconds: Math.round(spec.timeoutMs / 1000),
    createdAt: new Date(sandbox.createdAtMs).toISOString(),
    startedAt: iso(sandbox.startedAtMs),
    endedAt: iso(sandbox.endedAtMs),
    expiresAt: state === 'ended' ? null : iso(sandbox.deadlineMs),
    key,
  };
}

const resultOf = (result: SandboxResult): SandboxInfo['result'] => ({
  reason: result.kind,
  exitCode: result.kind === 'exited' ? result.exitCode : null,
  message: 'message' in result ? result.message : null,
});
