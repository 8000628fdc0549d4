/** The root filesystem of an instance: an overlay of the image's layers under a writable one, and what becomes of the writable one. */
import { mkdir, realpath, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { SlotUsers } from '../../network/network.ts';
import { run } from '../../platform/command.ts';
import { mountOverlay } from '../../platform/overlayfs.ts';
import { syncFilesystem } from '../../platform/sync-filesystem.ts';
import { removeSockets } from './fifos.ts';
import type { InstanceLayout, Layout } from './layout.ts';
import type { MappedTrees } from './user-ids.ts';

/** mount(2) takes one page of options: more than a Dockerfile has instructions, with room to spare. The kernel's own bound is 500. */
const MAX_LAYERS = 300;

/** What a sandbox syncs need not survive a crash of the machine, since the sandbox does not; `commit` syncs what is kept. */
const OPTIONS = ['volatile'];

/**
 * Mounts the root filesystem of an instance, whose directories must exist.
 * @param points a directory of further mount points, which are below all as well
 * @param mapped how it is shown with ids of its own
 */
export async function mountRootfs(
  layout: Layout,
  places: InstanceLayout,
  layers: readonly string[],
  points?: string,
  mapped?: { readonly trees: MappedTrees; readonly users: SlotUsers } | undefined,
): Promise<void> {
  if (layers.length > MAX_LAYERS) {
    throw new SkerryError(
      'invalid-argument',
      `An image can have at most ${MAX_LAYERS} layers, not ${layers.length}.`,
    );
  }
  const all = [layout.skeletonDir, ...(points === undefined ? [] : [points]), ...layers]; // our mount points are below all
  if (mapped) {
    const { trees, users } = mapped;
    await mkdir(places.mappedDisk);
    const writable = await realpath(places.diskDir);
    return trees.overlay(users, { layers: all, writable, shown: places.mappedDisk, target: places.rootfs });
  }
  await mountOverlay({
    layers: all,
    writable: { upper: places.upper, work: places.work },
    target: places.rootfs,
    linksDir: places.linksDir,
    options: OPTIONS,
  });
}

/** Moves a writable layer to its new place: a rename, or a copy when that is another filesystem. @throws as `copyUpper` */
export async function moveUpper(upper: string, directory: string, signal?: AbortSignal): Promise<void> {
  try {
    await rename(upper, directory);
    await removeSockets(directory);
    await syncFilesystem(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error; // what node:fs throws
    await copyUpper(upper, directory, signal);
  }
}

/**
 * Copies a writable layer with everything that overlayfs means by it: owners, modes, times, hard links, holes, whiteouts (devices 0:0) and
 * extended attributes, but without sockets. The copy appears under its name only when it is whole and on disk.
 * @throws SkerryError `disk-full`, `internal`; the signal's reason
 */
export async function copyUpper(upper: string, directory: string, signal?: AbortSignal): Promise<void> {
  const partial = join(dirname(directory), `.${basename(directory)}.partial`);
  await rm(partial, { recursive: true, force: true });
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rm(partial, { recursive: true, force: true })); // not there any more once it has its name
  await mkdir(partial, { mode: 0o700 });
  await copyTree(upper, partial, 'The machine is out of disk space for a copy of the files.', signal);
  await removeSockets(partial);
  await syncFilesystem(partial);
  await rename(partial, directory);
}

/**
 * Copies a file, or a directory to one that is not there or empty, with everything that there is to it.
 * @throws SkerryError `disk-full` with those words, `internal`; the signal's reason
 */
export async function copyTree(
  source: string,
  target: string,
  noRoom: string,
  signal?: AbortSignal,
): Promise<void> {
  try {
    await run(['cp', '-a', '--reflink=auto', '--sparse=auto', '-T', source, target], {
      timeoutMs: 30 * 60_000,
      ...(signal ? { signal } : {}),
    });
  } catch (error) {
    if (!(error instanceof SkerryError && /No space left on device/.test(error.message))) throw error;
    throw new SkerryError('disk-full', noRoom, { cause: error });
  }
}
