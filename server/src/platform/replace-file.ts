/** A file that is there as it was or as it is to be, whenever the server is killed. */
import { rename, writeFile } from 'node:fs/promises';

/** Whom it may be read by; by default this user only. */
const PRIVATE = 0o600;

/**
 * Writes all of a file beside its name, `.new`, and then gives it the name. One at a time for each file, unless each has a place of its own.
 * @param options.partial where it is written first, on the same file system
 */
export async function replaceFile(
  path: string,
  content: string,
  options: { readonly mode?: number; readonly encoding?: BufferEncoding; readonly partial?: string } = {},
): Promise<void> {
  const { mode = PRIVATE, encoding = 'utf8', partial = `${path}.new` } = options;
  await writeFile(partial, content, { mode, encoding });
  await rename(partial, path);
}
