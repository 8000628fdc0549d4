/** `/v1/sandboxes/<id>/snapshots`: images of what is in a sandbox now. */
import { whileRunning } from '../http/commands.ts';
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
      const { path, ttlSeconds } = request.body;
      const options = { ttlMs: ttlSeconds === undefined ? undefined : ttlSeconds * 1000 };
      const image = await whileRunning(sandbox, signal, () =>
        path === undefined
          ? sandbox.snapshotFilesystem(options, signal)
          : sandbox.snapshotDirectory(path, options, signal),
      );
      const createdAt = new Date(image.createdAtMs).toISOString();
      return reply.code(201).send({ imageId: image.id, createdAt });
    },
  );
}
