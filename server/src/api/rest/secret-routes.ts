/** `/v1/secrets`: environment variables by name, whose values never come out again. */
import type { Apps } from '../../apps/apps.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { SecretInfo, Secrets } from '../../secrets/secrets.ts';
import { answers, type HttpApp } from '../http/routes.ts';
import { beforeOf, cursorAfter } from '../http/sandbox-answers.ts';
import { nothing, pageQuery, secretInfo, secretPage, secretParams, secretRequest } from './schemas.ts';

export function secretRoutes(
  app: HttpApp,
  { secrets, apps }: { readonly secrets: Secrets; readonly apps: Pick<Apps, 'environment'> },
): void {
  const common = { tags: ['Secrets'], security: [{ apiToken: [] }] };

  app.get(
    '/secrets',
    {
      schema: {
        ...common,
        operationId: 'listSecrets',
        summary: 'The stored secrets, newest first: names of their variables, never values.',
        querystring: pageQuery,
        response: answers({ 200: secretPage }),
      },
    },
    async (request) => {
      const { limit, cursor } = request.query;
      const { id } = apps.environment('');
      const found = secrets.list(id, beforeOf(cursor), limit);
      return { secrets: found.map(describe), nextCursor: cursorAfter(found, limit) };
    },
  );

  app.put(
    '/secrets/:secret',
    {
      schema: {
        ...common,
        operationId: 'putSecret',
        summary: 'Store variables under a name, in the place of those that it has.',
        params: secretParams,
        body: secretRequest,
        response: answers({ 200: secretInfo }, 413),
      },
    },
    async (request) => {
      const { id } = apps.environment('');
      return describe(secrets.create(id, request.params.secret, request.body.env, 'replace'));
    },
  );

  app.delete(
    '/secrets/:secret',
    {
      schema: {
        ...common,
        operationId: 'deleteSecret',
        summary: 'Forget it. Sandboxes that were made with it keep what they have.',
        params: secretParams,
        response: answers({ 200: nothing }, 404),
      },
    },
    async (request) => {
      secrets.delete(secrets.lookup(apps.environment('').id, request.params.secret, []).id);
      return {};
    },
  );
}

function describe({ name, keys, createdAtMs, lastUsedAtMs }: SecretInfo) {
  if (name === undefined) throw new SkerryError('internal', 'unreachable: a secret of a list has a name');
  return {
    name,
    keys: [...keys],
    createdAt: new Date(createdAtMs).toISOString(),
    lastUsedAt: lastUsedAtMs === undefined ? null : new Date(lastUsedAtMs).toISOString(),
  };
}
