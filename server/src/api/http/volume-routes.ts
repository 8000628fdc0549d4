/** `…/volumes/reload`: what others wrote in the volumes of a sandbox. */
import { whileRunning } from './commands.ts';
import { volumesReloaded } from './fields.ts';
import { answers, type HttpApp, openSandbox, type RouteParts, sandboxParams } from './routes.ts';

export function volumeRoutes(app: HttpApp, parts: RouteParts): void {
  app.post(
    '/volumes/reload',
    {
      schema: {
        tags: ['Volumes'],
        security: [{ sandboxKey: [] }],
        operationId: 'reloadVolumes',
        summary: 'Show in its volumes what others have written since it started, or since the last reload.',
        params: sandboxParams,
        response: answers({ 200: volumesReloaded }, 404, 410, 413, 425),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      await whileRunning(sandbox, signal, () => sandbox.reloadVolumes(signal));
      return { volumes: [...new Set(sandbox.spec.volumes.map(({ target }) => target))] };
    },
  );
}
