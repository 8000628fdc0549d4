/** `{sandboxUrl}/modbox/api/files`: a sandbox's files, by absolute path. */
import { Readable } from 'node:stream';
import { z } from 'zod';
import { sandboxParams } from './exec-routes.ts';
import { answers, content, type ModboxApp, openSandbox, type RouteParts } from './routes.ts';
import { SandboxFiles } from './sandbox-files.ts';
import { deleteFileQuery, fileDeleted, fileList, fileQuery, fileWritten } from './schemas.ts';

const bytes = z.any().meta({ type: 'string', format: 'binary' });

export function fileRoutes(app: ModboxApp, parts: RouteParts): void {
  const common = { tags: ['Files'], security: [{ sandboxKey: [] }], params: sandboxParams };
  const files = (
    ...[request, reply]: Parameters<typeof openSandbox> extends [unknown, ...infer Rest] ? Rest : never
  ) => {
    const { sandbox, signal } = openSandbox(parts, request, reply);
    return { files: new SandboxFiles(sandbox, parts.maxFileBytes), signal };
  };
  // A file is bytes, whatever type its sender gives it: the body is passed on as it comes and never held in memory.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload));

  app.get(
    '/files',
    {
      schema: {
        ...common,
        operationId: 'readFile',
        summary: "A file's bytes.",
        querystring: fileQuery,
        response: answers(
          { 200: content('application/octet-stream', bytes, 'The bytes.') },
          404,
          409,
          410,
          425,
        ),
      },
    },
    async (request, reply) => {
      const { files: sandboxFiles, signal } = files(request, reply);
      const pieces = await sandboxFiles.read(request.query.path, signal);
      return reply.type('application/octet-stream').send(Readable.from(pieces, { objectMode: false }));
    },
  );

  app.put(
    '/files',
    {
      // Counted by SandboxFiles as it comes; there is no other bound.
      bodyLimit: Number.MAX_SAFE_INTEGER,
      schema: {
        ...common,
        operationId: 'writeFile',
        summary:
          'Create or replace a file; missing directories are made. A body that breaks off changes nothing.',
        consumes: ['application/octet-stream'],
        querystring: fileQuery,
        body: bytes,
        response: answers({ 200: fileWritten }, 404, 409, 410, 413, 425),
      },
    },
    async (request, reply) => {
      const { files: sandboxFiles, signal } = files(request, reply);
      const { path } = request.query;
      // Without a content type there is no body to parse, and the stream is still on the request.
      const body: AsyncIterable<Uint8Array> = request.body instanceof Readable ? request.body : request.raw;
      return { path, size: await sandboxFiles.write(path, body, signal) };
    },
  );

  app.delete(
    '/files',
    {
      schema: {
        ...common,
        operationId: 'deleteFile',
        summary: 'Delete a file, or a directory: with recursive=true also what is in it.',
        querystring: deleteFileQuery,
        response: answers({ 200: fileDeleted }, 404, 409, 410, 425),
      },
    },
    async (request, reply) => {
      const { files: sandboxFiles, signal } = files(request, reply);
      const { path, recursive } = request.query;
      await sandboxFiles.remove(path, recursive, signal);
      return { path };
    },
  );

  app.get(
    '/files/list',
    {
      schema: {
        ...common,
        operationId: 'listFiles',
        summary: 'What is directly in a directory.',
        querystring: fileQuery,
        response: answers({ 200: fileList }, 404, 409, 410, 413, 425),
      },
    },
    async (request, reply) => {
      const { files: sandboxFiles, signal } = files(request, reply);
      const { path } = request.query;
      const entries = await sandboxFiles.list(path, signal);
      return {
        path,
        entries: entries.map(({ modifiedAtMs, symlinkTarget, ...entry }) => ({
          ...entry,
          modifiedAt: new Date(modifiedAtMs).toISOString(),
          symlinkTarget: symlinkTarget ?? null,
        })),
      };
    },
  );
}
