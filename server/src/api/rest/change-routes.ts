/** What of a sandbox can be changed while it runs: its tags, what it reaches, what is put into what it sends, and what is mounted. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ImageId } from '../../ids.ts';
import type { Sandbox } from '../../sandboxes/sandboxes.ts';
import { whileRunning } from '../http/commands.ts';
import { fileQuery } from '../http/fields.ts';
import { answers, type HttpApp, openSandbox, type RouteParts, sandboxParams } from '../http/routes.ts';
import { networkPolicy, secretHeaderSpecs } from '../http/sandbox-fields.ts';
import { imageMountRequest, networkRequest, nothing, secretHeadersRequest, tagsRequest } from './schemas.ts';

export function changeRoutes(app: HttpApp, parts: RouteParts): void {
  const common = { tags: ['Changes'], security: [{ apiToken: [] }], params: sandboxParams };
  /** Changes a sandbox that runs; the answer says nothing. */
  const change = async (
    request: FastifyRequest<{ Params: { sandboxId: string } }>,
    reply: FastifyReply,
    how: (sandbox: Sandbox, signal: AbortSignal) => Promise<void>,
  ) => {
    const { sandbox, signal } = openSandbox(parts, request, reply);
    await whileRunning(sandbox, signal, () => how(sandbox, signal));
    return {};
  };
  const response = answers({ 200: nothing }, 404, 409, 410, 413, 425, 429, 501);

  app.put(
    '/sandboxes/:sandboxId/tags',
    {
      schema: {
        ...common,
        operationId: 'setTags',
        summary: 'Replace all its tags.',
        body: tagsRequest,
        response: answers({ 200: nothing }, 404),
      },
    },
    async (request, reply) => {
      openSandbox(parts, request, reply).sandbox.setTags(request.body.tags);
      return {};
    },
  );

  app.put(
    '/sandboxes/:sandboxId/network',
    {
      schema: {
        ...common,
        operationId: 'setNetwork',
        summary: 'Say anew what it may reach, from now on.',
        body: networkRequest,
        response,
      },
    },
    (request, reply) =>
      change(request, reply, (sandbox) => sandbox.setNetworkPolicy(networkPolicy(request.body.network))),
  );

  app.put(
    '/sandboxes/:sandboxId/secret-headers',
    {
      schema: {
        ...common,
        operationId: 'setSecretHeaders',
        summary: 'Replace what is put into what it sends, of one that was made with secret headers.',
        body: secretHeadersRequest,
        response,
      },
    },
    (request, reply) =>
      change(request, reply, (sandbox) =>
        sandbox.setSecretHeaders(secretHeaderSpecs(request.body.secretHeaders)),
      ),
  );

  app.post(
    '/sandboxes/:sandboxId/mounts',
    {
      schema: {
        ...common,
        operationId: 'mountImage',
        summary:
          'Show the files of an image, as a snapshot of a directory is one, at a path. What is written there is of this mount alone.',
        body: imageMountRequest,
        response,
      },
    },
    (request, reply) => {
      const { path, imageId } = request.body;
      // Any text may be looked up.
      const image = { imageId: imageId as ImageId | undefined, encryptionKey: undefined };
      return change(request, reply, (sandbox, signal) => sandbox.mountImage(path, image, signal));
    },
  );

  app.delete(
    '/sandboxes/:sandboxId/mounts',
    {
      schema: {
        ...common,
        operationId: 'unmountImage',
        summary: 'Uncover what is below the image that was mounted last at a path.',
        querystring: fileQuery,
        response,
      },
    },
    (request, reply) =>
      change(request, reply, (sandbox, signal) => sandbox.unmountImage(request.query.path, signal)),
  );
}
