/** Images. Facts: docs/protocol/images-and-mounts.md, section 1. */
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { ServiceImpl } from '@connectrpc/connect';
import type { Apps } from '../../../apps/apps.ts';
import type { AppId, ImageId } from '../../../ids.ts';
import type { BuildEvent, BuildLogEntry, BuildResult, Image, Images } from '../../../images/image.ts';
import { GenericResult_GenericStatus as Status } from '../gen/modal/common_pb.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { inBatches } from '../rpc/batches.ts';
import { toSeconds, waitMs } from '../rpc/wire-time.ts';
import { buildTaskId } from './build-task.ts';
import { type ImageDefinitionDeps, toImageDefinition } from './image-definition.ts';
import { canonicalImageName, imageNamePrefix } from './image-name.ts';
import { buildStreams } from './log-history.ts';

export interface ImageHandlerDeps extends ImageDefinitionDeps {
  readonly apps: Apps;
  readonly images: Images;
  readonly now: () => number;
}

const MAX_JOIN_SECONDS = 600;
/** Log entries of one message; an entry has at most 64 KiB. */
const MAX_ENTRIES = 32;
const MAX_NAMES_PAGE = 500;
/** After the end of a build its log says how it went; clients ask for what is older than the end that they are told. */
const LAST_WORDS_MS = 1000;

export function imageHandlers(deps: ImageHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  const { apps, images, now } = deps;

  const environmentOfApp = (appId: string) =>
    apps.environment(appId === '' ? '' : apps.get(appId as AppId).environmentName);

  const canonicalName = (tag: string, environmentName: string): string =>
    canonicalImageName(tag, environmentName, (name) => apps.environment(name));

  return {
    async imageGetOrCreate(request) {
      const fallback = environmentOfApp(request.appId).imageBuilderVersion;
      const { id, result } = await images.getOrBuild(toImageDefinition(request, fallback, deps));
      // Without a result the client joins the build; Go takes a present but empty one for a failure.
      if (!result) return { imageId: id };
      return { imageId: id, result: toWireResult(result), ...metadataAfter(result, id, images) };
    },

    async *imageJoinStreaming(request, context) {
      const id = asImageId(request.imageId);
      const after = /^\d{1,9}$/.test(request.lastEntryId) ? Number(request.lastEntryId) : 0;
      const timeout = AbortSignal.timeout(waitMs(request.timeout, MAX_JOIN_SECONDS));
      const signal = AbortSignal.any([context.signal, timeout]);
      try {
        for await (const batch of inBatches(images.follow(id, after, signal), MAX_ENTRIES)) {
          const entries = batch.filter(isLog).map(({ entry }) => entry);
          const last = entries.at(-1);
          if (last) yield { taskLogs: entries.map(toTaskLog), entryId: String(last.index) };
          const end = batch.find(isResult);
          if (end) {
            yield {
              result: toWireResult(end.result),
              eof: true,
              ...metadataAfter(end.result, id, images),
            };
            return;
          }
        }
      } catch (error) {
        // The end of the wait is a normal end of the stream: the client asks again from the last entry.
        if (!timeout.aborted) throw error;
      }
    },

    imageFromId({ imageId }) {
      const image = images.use(asImageId(imageId));
      return { imageId: image.id, metadata: toMetadata(image) };
    },
    async imageDelete({ imageId }) {
      await images.delete(asImageId(imageId));
      return {};
    },
    imageGetByTag: ({ tag, environmentName }) => ({
      imageId: images.getByName(canonicalName(tag, environmentName)),
    }),
    imagePublish({ imageId, tag, environmentName }) {
      const { id } = images.get(asImageId(imageId));
      images.publish(id, canonicalName(tag, environmentName));
      return { imageId: id };
    },
    imageListTags(request) {
      const environment = apps.environment(request.environmentName);
      const prefix = imageNamePrefix(environment);
      const limit = Math.min(request.maxObjects || MAX_NAMES_PAGE, MAX_NAMES_PAGE);
      const found = images.names(`${prefix}${request.tagPrefix}`, request.pageToken, limit);
      // Names of other environments carry their prefix; those of the default one carry none.
      const own = found.filter(({ name }) => prefix !== '' || !name.includes('/'));
      return {
        environmentName: environment.name,
        nextPageToken: found.length === limit ? (found.at(-1)?.name ?? '') : '',
        items: own
          .filter(({ imageId }) => request.imageId === '' || imageId === request.imageId)
          .map(({ name, imageId, createdAtMs, updatedAtMs }) => ({
            tag: name.slice(prefix.length),
            imageId,
            createdAt: toSeconds(createdAtMs),
            updatedAt: toSeconds(updatedAtMs),
          })),
      };
    },
    imageNameDelete({ tag }) {
      images.unpublish(canonicalName(tag, ''));
      return {};
    },
    imageBuildChainGet: ({ imageId }) => ({
      buildSteps: images.builds(asImageId(imageId)).map(({ id, startedAtMs, endedAtMs }) => ({
        imageId: id,
        startedAt: timestampFromMs(startedAtMs),
        finishedAt: timestampFromMs((endedAtMs ?? now()) + LAST_WORDS_MS),
        builderTaskId: buildTaskId(id),
      })),
    }),
  };
}

/** A lookup finds nothing under text that is no id, so any text may pass as one. */
const asImageId = (text: string): ImageId => text as ImageId;

const isLog = (event: BuildEvent): event is BuildEvent & { kind: 'log' } => event.kind === 'log';
const isResult = (event: BuildEvent): event is BuildEvent & { kind: 'result' } => event.kind === 'result';

const toTaskLog = (entry: BuildLogEntry) => ({
  data: entry.text,
  timestamp: toSeconds(entry.timeMs),
  fileDescriptor: buildStreams[entry.stream],
});

function toWireResult(result: BuildResult) {
  switch (result.kind) {
    case 'success':
      return { status: Status.SUCCESS };
    case 'failure':
      return { status: Status.FAILURE, exception: result.message };
    case 'cancelled':
      return { status: Status.TERMINATED, exception: result.message };
    default:
      return result satisfies never;
  }
}

const metadataAfter = (result: BuildResult, id: ImageId, images: Images) =>
  result.kind === 'success' ? { metadata: toMetadata(images.get(id)) } : {};

/** What clients learn of a finished image. */
export const toMetadata = (image: Image) => ({
  imageBuilderVersion: image.builderVersion,
  ...(image.config.workdir !== '/' && { workdir: image.config.workdir }),
});
