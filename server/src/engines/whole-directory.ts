/** Directories that are there wholly or not at all. */
import { mkdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Has `write` fill a directory that appears under its name only when it is whole. */
export async function writeWhole(
  directory: string,
  write: (partial: string) => Promise<void>,
): Promise<void> {
  const partial = join(dirname(directory), `.${basename(directory)}.partial`);
  await rm(partial, { recursive: true, force: true });
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rm(partial, { recursive: true, force: true })); // not there any more once it has its name
  await mkdir(partial, { mode: 0o700 });
  await write(partial);
  await rename(partial, directory);
}
