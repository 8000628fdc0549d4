/** `…/files`: a sandbox's files, by absolute path. */
import { Readable } from 'node:stream';
import { z } from 'zod';
import { bodyOf, bounded } from './bounded.ts';
import { deleteFileQuery, fileDeleted, fileList, fileQuery, fileWritten } from './fields.ts';
import { fileCalls } from './file-calls.ts';
import { answers, content, type HttpApp, type RouteParts, sandboxParams } from './routes.ts';

const bytes = z.any().meta({ type: 'string', format: 'binary' });

export function fileRoutes(app: HttpApp, parts: RouteParts): void {
  const common = { tags: ['Files'], security: [{ sandboxKey: [] }], params: sandboxParams };
  const use = fileCalls(parts);
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
      const { path } = request.query;
      const pieces = await use(request, reply, (files, signal) => begun(files.read(path, signal), signal));
      return reply.type('application/octet-stream').send(Readable.from(pieces, { objectMode: false }));
    },
  );

  app.put(
    '/files',
    {
      // Counted as it comes; there is no other bound.
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
      const { path } = request.query;
      const content = bounded(bodyOf(request), parts.maxFileBytes);
      return { path, size: await use(request, reply, (files, signal) => files.write(path, content, signal)) };
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
      const { path, recursive } = request.query;
      await use(request, reply, (files, signal) => files.remove(path, recursive, signal));
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
      const { path } = request.query;
      const entries = await use(request, reply, (files, signal) => files.list(path, signal));
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

/** Has the first piece when it resolves, so that what can go wrong at the start has a status of its own. Ends the reading when the caller hangs up. */
async function begun(
  pieces: AsyncGenerator<Uint8Array>,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  const first = await pieces.next();
  // Also for an answer that nobody took a piece of.
  signal.addEventListener('abort', () => void pieces.return(undefined).catch(() => {}), { once: true });
  return (async function* () {
    if (first.done) return;
    yield first.value;
    yield* pieces;
  })();
}
