/** `/v1/volumes`: which there are, and what they hold, whether a sandbox has them or not. */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { z } from 'zod';
import type { Apps } from '../../apps/apps.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { VolumeId } from '../../ids.ts';
import type { LayeredVolumeFiles } from '../../volumes/volume-files.ts';
import type { VolumeMounts } from '../../volumes/volume-mounts.ts';
import type { VolumeInfo, Volumes } from '../../volumes/volumes.ts';
import { bodyOf } from '../http/bounded.ts';
import { fileDeleted, fileWritten } from '../http/fields.ts';
import { answers, content, type HttpApp } from '../http/routes.ts';
import { beforeOf, cursorAfter } from '../http/sandbox-answers.ts';
import {
  nothing,
  pageQuery,
  volumeCopy,
  volumeDeleteQuery,
  volumeFileQuery,
  volumeFiles,
  volumeInfo,
  volumeListQuery,
  volumePage,
  volumeParams,
  volumeRename,
} from './schemas.ts';

export interface StoredVolumes {
  readonly apps: Pick<Apps, 'environment' | 'lookup'>;
  readonly volumes: Volumes;
  readonly volumeFiles: Pick<
    LayeredVolumeFiles,
    'list' | 'range' | 'remove' | 'copy' | 'putStream' | 'hostPath'
  >;
  /** Whatever is asked of a volume is asked of what its sandboxes have written by then. */
  readonly volumeMounts: Pick<VolumeMounts, 'settle'>;
}

const MAX_ENTRIES = 100_000;
const FILE_MODE = 0o644;
const bytes = z.any().meta({ type: 'string', format: 'binary' });

export function storedVolumeRoutes(app: HttpApp, stored: StoredVolumes): void {
  const { apps, volumes, volumeFiles: files, volumeMounts: mounts } = stored;
  const common = { tags: ['Volumes'], security: [{ apiToken: [] }] };
  const one = { ...common, params: volumeParams };
  const environment = () => apps.environment('').id;
  const settled = async (name: string): Promise<VolumeId> => {
    const { id } = volumes.lookup(environment(), name);
    await mounts.settle(id);
    return id;
  };

  app.get(
    '/volumes',
    {
      schema: {
        ...common,
        operationId: 'listVolumes',
        summary: 'The volumes, newest first.',
        querystring: pageQuery,
        response: answers({ 200: volumePage }),
      },
    },
    async (request) => {
      const { limit, cursor } = request.query;
      const most = Math.min(limit, 100);
      const found = volumes.list(environment(), beforeOf(cursor), most);
      return { volumes: found.map(describe), nextCursor: cursorAfter(found, most) };
    },
  );

  app.put(
    '/volumes/:volume',
    {
      schema: {
        ...one,
        operationId: 'makeVolume',
        summary: 'Make a volume, or find the one of that name.',
        response: answers({ 200: volumeInfo }),
      },
    },
    async (request) => describe(volumes.create(environment(), request.params.volume, 2, 'keep')),
  );

  app.get(
    '/volumes/:volume',
    {
      schema: {
        ...one,
        operationId: 'getVolume',
        summary: 'One volume.',
        response: answers({ 200: volumeInfo }, 404),
      },
    },
    async (request) => describe(volumes.lookup(environment(), request.params.volume)),
  );

  app.delete(
    '/volumes/:volume',
    {
      schema: {
        ...one,
        operationId: 'deleteVolume',
        summary: 'Forget a volume and what it holds.',
        response: answers({ 200: nothing }, 404, 409),
      },
    },
    async (request) => {
      volumes.delete(volumes.lookup(environment(), request.params.volume).id);
      return {};
    },
  );

  app.post(
    '/volumes/:volume/rename',
    {
      schema: {
        ...one,
        operationId: 'renameVolume',
        summary: 'Give it another name. Sandboxes that have it keep it.',
        body: volumeRename,
        response: answers({ 200: volumeInfo }, 404, 409),
      },
    },
    async (request) => {
      const { id } = volumes.lookup(environment(), request.params.volume);
      volumes.rename(id, request.body.name);
      return describe(volumes.get(id));
    },
  );

  app.post(
    '/volumes/:volume/files/copy',
    {
      schema: {
        ...one,
        operationId: 'copyVolumeFiles',
        summary: 'Copy files and directories within the volume, as cp -p does: all or none.',
        body: volumeCopy,
        response: answers({ 200: nothing }, 404, 409, 413),
      },
    },
    async (request) => {
      const { from, to, recursive } = request.body;
      await files.copy(await settled(request.params.volume), from, to, { recursive });
      return {};
    },
  );

  app.get(
    '/volumes/:volume/files/list',
    {
      schema: {
        ...one,
        operationId: 'listVolumeFiles',
        summary: 'What is in a directory, with recursive=true also further down; or one file.',
        querystring: volumeListQuery,
        response: answers({ 200: volumeFiles }, 404, 413),
      },
    },
    async (request) => {
      const { path, recursive } = request.query;
      const entries = [];
      for await (const entry of files.list(await settled(request.params.volume), path, { recursive })) {
        if (entries.length === MAX_ENTRIES) {
          throw new SkerryError(
            'too-large',
            `There are more than ${MAX_ENTRIES} entries: list directories one by one.`,
          );
        }
        entries.push({
          path: `/${entry.path}`,
          type: entry.kind === 'link' ? ('symlink' as const) : entry.kind,
          size: entry.size,
          modifiedAt: new Date(entry.mtimeMs).toISOString(),
        });
      }
      return { entries };
    },
  );

  app.get(
    '/volumes/:volume/files',
    {
      schema: {
        ...one,
        operationId: 'readVolumeFile',
        summary: "A file's bytes.",
        querystring: volumeFileQuery,
        response: answers({ 200: content('application/octet-stream', bytes, 'The bytes.') }, 404),
      },
    },
    async (request, reply) => {
      const { place, length } = await files.range(
        await settled(request.params.volume),
        request.query.path,
        0,
        0,
      );
      const body =
        length === 0 ? Readable.from([]) : createReadStream(files.hostPath(place), { end: length - 1 });
      return reply.type('application/octet-stream').header('content-length', length).send(body);
    },
  );

  app.delete(
    '/volumes/:volume/files',
    {
      schema: {
        ...one,
        operationId: 'deleteVolumeFile',
        summary: 'Delete a file, or a directory: with recursive=true also what is in it.',
        querystring: volumeDeleteQuery,
        response: answers({ 200: fileDeleted }, 404, 409),
      },
    },
    async (request) => {
      const { path, recursive } = request.query;
      await files.remove(await settled(request.params.volume), path, recursive);
      return { path };
    },
  );

  app.register(async (scope: HttpApp) => {
    // A file is bytes, whatever type its sender gives it.
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
    scope.put(
      '/volumes/:volume/files',
      {
        bodyLimit: Number.MAX_SAFE_INTEGER, // counted as it comes, against what the volume may hold
        schema: {
          ...one,
          operationId: 'writeVolumeFile',
          summary:
            'Create or replace a file; missing directories are made. A body that breaks off changes nothing.',
          consumes: ['application/octet-stream'],
          querystring: volumeFileQuery,
          body: bytes,
          response: answers({ 200: fileWritten }, 404, 409, 413),
        },
      },
      async (request) => {
        const { path } = request.query;
        const id = await settled(request.params.volume);
        const size = await files.putStream(id, path, FILE_MODE, bodyOf(request), { overwrite: true });
        return { path, size };
      },
    );
  });
}

function describe({ id, name, createdAtMs }: VolumeInfo) {
  if (name === undefined)
    throw new SkerryError('internal', 'unreachable: a volume that is found by name has one');
  return { id, name, createdAt: new Date(createdAtMs).toISOString() };
}
