/** `/v1/sandboxes/<id>/snapshots`: images of what is in a sandbox now. */
import { requireRunning, toldWhy } from '../http/commands.ts';
import { answers, type HttpApp, openSandbox, type RouteParts, sandboxParams } from '../http/routes.ts';
import { snapshotMade, snapshotRequest } from './schemas.ts';

export function snapshotRoutes(app: HttpApp, parts: RouteParts): void {
  app.post(
    '/snapshots',
    {
      schema: {
        tags: ['Snapshots'],
        security: [{ sandboxKey: [] }],
        operationId: 'snapshot',
        summary: 'Make an image of its files as they are now. It goes on running.',
        params: sandboxParams,
        body: snapshotRequest,
        response: answers({ 201: snapshotMade }, 404, 409, 410, 413, 425),
      },
    },
    async (request, reply) => {
      const { sandbox, signal } = openSandbox(parts, request, reply);
      await requireRunning(sandbox, signal);
      const { path, ttlSeconds } = request.body;
      const options = { ttlMs: ttlSeconds === undefined ? undefined : ttlSeconds * 1000 };
      try {
        const image =
          path === undefined
            ? await sandbox.snapshotFilesystem(options, signal)
            : await sandbox.snapshotDirectory(path, options, signal);
        const createdAt = new Date(image.createdAtMs).toISOString();
        return await reply.code(201).send({ imageId: image.id, createdAt });
      } catch (error) {
        throw await toldWhy(error, sandbox, signal, ' meanwhile');
      }
    },
  );
}
