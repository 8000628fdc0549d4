/** Directories for what is unfinished or doomed: emptied when the server starts, and a way out of sight for what takes long to remove. */
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';

/**
 * Makes `directory` (mode 0700) and empties it, as far as that can be: what of an earlier run cannot be removed is in nobody's way, and must not keep the
 * server from starting.
 */
export function emptied(directory: string, onFailure: (error: unknown) => void): void {
  try {
    rmSync(directory, { recursive: true, force: true });
  } catch (error) {
    onFailure(error);
  }
  mkdirSync(directory, { recursive: true, mode: 0o700 });
}

/**
 * Removes directories by way of `temporary`, on the same file system: all are out of sight before the first is removed, so that nothing can start to use
 * what is half removed. One that cannot be removed holds up no other.
 * @returns the paths that are out of sight
 */
export async function removeOutOfSight(
  paths: readonly string[],
  temporary: string,
  onFailure: (path: string, error: unknown) => void,
): Promise<readonly string[]> {
  const hiding = (path: string) => join(temporary, basename(path));
  const hidden = paths.filter((path) => {
    try {
      renameSync(path, hiding(path));
      return true;
    } catch (error) {
      onFailure(path, error);
      return false;
    }
  });
  for (const path of hidden) {
    await rm(hiding(path), { recursive: true, force: true }).catch((error) => onFailure(path, error));
  }
  return hidden;
}
