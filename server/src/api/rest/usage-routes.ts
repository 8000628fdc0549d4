/** What sandboxes take of the machine, and where the time of their starts went. */
import type { SandboxId } from '../../ids.ts';
import { answers, type HttpApp, type RouteParts, sandboxParams } from '../http/routes.ts';
import { startupAnswer, usageAnswer } from './schemas.ts';

export function usageRoutes(app: HttpApp, { sandboxes }: RouteParts): void {
  const common = { tags: ['Usage'], security: [{ apiToken: [] }] };

  app.get(
    '/usage',
    {
      schema: {
        ...common,
        operationId: 'listUsage',
        summary: 'What each running sandbox takes of the machine now.',
        response: answers({ 200: usageAnswer }),
      },
    },
    async () => {
      const all = sandboxes.list({ limit: Number.MAX_SAFE_INTEGER });
      const looked = await Promise.all(
        all.map(async (sandbox) => {
          const { memoryLimitMiB } = sandbox.spec.resources;
          const usage = await sandbox.usage();
          if (!usage) return undefined;
          const { traffic, ports, ...taken } = usage;
          return {
            ...{ id: sandbox.id, memoryLimitMiB: memoryLimitMiB || null, ...taken },
            sentBytes: traffic?.sentBytes ?? null,
            receivedBytes: traffic?.receivedBytes ?? null,
            ports,
          };
        }),
      );
      return { sandboxes: looked.filter((each) => each !== undefined) };
    },
  );

  app.get(
    '/sandboxes/:sandboxId/startup',
    {
      schema: {
        ...common,
        operationId: 'getStartup',
        summary:
          'Where the time of its start went. Null before it has started, and once another server has it.',
        params: sandboxParams,
        response: answers({ 200: startupAnswer }, 404),
      },
    },
    async (request) => {
      // Any text may be asked for; what is not a sandbox's id is not found.
      const { startup } = sandboxes.get(request.params.sandboxId as SandboxId);
      return { startup: startup ?? null };
    },
  );
}
