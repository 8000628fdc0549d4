/** A file that is there as it was or as it is to be, whenever the server is killed. */
import { rename, writeFile } from 'node:fs/promises';

/** Whom it may be read by; by default this user only. */
const PRIVATE = 0o600;

/** Writes all of a file beside its name, `.new`, and then gives it the name. One at a time for each file. */
export async function replaceFile(
  path: string,
  content: string,
  { mode = PRIVATE, encoding = 'utf8' }: { readonly mode?: number; readonly encoding?: BufferEncoding } = {},
): Promise<void> {
  await writeFile(`${path}.new`, content, { mode, encoding });
  await rename(`${path}.new`, path);
}
