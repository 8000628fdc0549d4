/** What of a sandbox's files no other interface has: directories that are made, and what is at a path. */

import { fileQuery } from '../http/fields.ts';
import { fileCalls } from '../http/file-calls.ts';
import { answers, type HttpApp, type RouteParts, sandboxParams } from '../http/routes.ts';
import { directoryMade, directoryRequest, fileStat } from './schemas.ts';

export function directoryRoutes(app: HttpApp, parts: RouteParts): void {
  const common = { tags: ['Files'], security: [{ sandboxKey: [] }], params: sandboxParams };
  const use = fileCalls(parts);

  app.post(
    '/directories',
    {
      schema: {
        ...common,
        operationId: 'makeDirectory',
        summary: 'Make a directory, and its parents unless told otherwise.',
        body: directoryRequest,
        response: answers({ 201: directoryMade }, 404, 409, 410, 413, 425),
      },
    },
    async (request, reply) => {
      const { path, parents } = request.body;
      await use(request, reply, (files, signal) => files.makeDirectory(path, parents, signal));
      return reply.code(201).send({ path });
    },
  );

  app.get(
    '/files/stat',
    {
      schema: {
        ...common,
        operationId: 'statFile',
        summary: 'What is at a path: a link itself, not what it leads to.',
        querystring: fileQuery,
        response: answers({ 200: fileStat }, 404, 409, 410, 425),
      },
    },
    async (request, reply) => {
      const { path } = request.query;
      return { path, type: (await use(request, reply, (files, signal) => files.stat(path, signal))) ?? null };
    },
  );
}
