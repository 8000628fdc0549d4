/**
 * Files that the Python client adds at run time (`add_local_*` without copy). They are laid over the image as one more, cached,
 * build step: so symlinks of the image are honoured, and the files are there before the first instruction.
 */
import type { BlobStore, Mounts } from '../blobs/blobs.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import type { MountId, TaskId } from '../ids.ts';
import { type ContextFile, type Image, type Images, plainDefinition } from '../images/image.ts';

const BUILD_TIMEOUT_MS = 10 * 60_000;

/** `image` with the files of the mounts over it, held for the task that runs on it; `image` itself without mounts. @throws SkerryError `image-build-failed` */
export async function imageWithMounts(
  taskId: TaskId,
  mountIds: readonly MountId[],
  image: Image,
  parts: { readonly mounts: Mounts; readonly blobs: BlobStore; readonly images: Images },
): Promise<Image> {
  const contextFiles = mountIds.flatMap((id) =>
    parts.mounts.files(id).map(
      (file): ContextFile => ({
        path: file.path,
        mode: file.mode,
        content: { file: parts.blobs.path(file.sha256Hex) },
      }),
    ),
  );
  if (contextFiles.length === 0) return image;
  const built = await parts.images.getOrBuild({
    ...plainDefinition,
    dockerfileLines: ['FROM base', 'COPY . /'],
    baseImages: new Map([['base', image.id]]),
    contextFiles,
    builderVersion: image.builderVersion,
  });
  if (built.result === undefined) {
    for await (const event of parts.images.follow(built.id, 0, AbortSignal.timeout(BUILD_TIMEOUT_MS))) {
      if (event.kind === 'result' && event.result.kind !== 'success') {
        throw new SkerryError(
          'image-build-failed',
          `The mounted files could not be added: ${event.result.message}`,
        );
      }
    }
  }
  const made = parts.images.get(built.id);
  parts.images.holdImage(taskId, made.id);
  return made;
}
