/** Files that are to be put into a volume by one call, by their paths. */
import { SkerryError } from '../errors/skerry-error.ts';
import { clip } from '../platform/text.ts';
import type { LayerTree } from './layer-tree.ts';
import { parseVolumePath, showVolumePath, type VolumePath } from './paths.ts';
import { isADirectory } from './volume-errors.ts';

/** Files of one call. */
const MAX_FILES_AT_ONCE = 100_000;

export interface Named<File> {
  readonly names: VolumePath;
  readonly file: File;
  readonly index: number;
}

/** Files by path. @throws SkerryError `invalid-argument` for the root, and for a path that comes twice */
export function nameFiles<File extends { readonly path: string }>(
  files: readonly File[],
): ReadonlyMap<string, Named<File>> {
  if (files.length > MAX_FILES_AT_ONCE)
    throw new SkerryError('too-large', `At most ${MAX_FILES_AT_ONCE} files can be put at once.`);
  const named = new Map<string, Named<File>>();
  for (const [index, file] of files.entries()) {
    const names = parseVolumePath(file.path);
    const path = names.join('/');
    if (names.length === 0) throw new SkerryError('invalid-argument', 'A file needs a name.');
    if (named.has(path)) throw new SkerryError('invalid-argument', `'${clip(file.path)}' is given twice.`);
    named.set(path, { names, file, index });
  }
  return named;
}

/** @returns the bytes of the files that others would take the place of @throws SkerryError `already-exists` */
export async function checkFree(
  tree: LayerTree,
  paths: Iterable<string>,
  overwrite: boolean,
): Promise<number> {
  let replaced = 0;
  for (const path of paths) {
    const names = path.split('/');
    const node = await tree.lookup(names);
    if (node?.kind === 'directory') throw isADirectory(names);
    if (node && !overwrite)
      throw new SkerryError('already-exists', `'${showVolumePath(names)}' already exists.`);
    replaced += node?.stats.size ?? 0;
  }
  return replaced;
}
