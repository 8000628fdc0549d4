/** The files of a directory that a build may copy: all but what its `.dockerignore` leaves out (https://docs.docker.com/build/concepts/context/#dockerignore-files). */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { parseIgnore } from '../../server/src/local-caller.ts';
import { CliError } from './cli-error.ts';

export interface ContextFile {
  /** Within the context, with slashes. */
  readonly path: string;
  readonly file: string;
  readonly mode: number;
  readonly bytes: number;
  readonly sha256: string;
}

/** As many as the server takes for one image. */
const MAX_FILES = 100_000;

/**
 * The regular files of a directory, in order.
 * @param skipped is told of what is neither file nor directory: links, since the server's contexts hold none
 * @throws CliError for a directory that cannot be read, or has too many files
 */
export async function contextFiles(
  directory: string,
  isIgnored: (path: string) => boolean,
  skipped: (path: string) => void,
): Promise<ContextFile[]> {
  const found: ContextFile[] = [];
  const walk = async (below: string): Promise<void> => {
    const entries = await readdir(join(directory, below), { withFileTypes: true }).catch((error: Error) => {
      throw new CliError(`The build context cannot be read: ${error.message}`);
    });
    for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`;
      // What is ignored may hold what a later line takes back.
      if (entry.isDirectory()) await walk(path);
      else if (isIgnored(path)) continue;
      else if (!entry.isFile()) skipped(path);
      else {
        if (found.length === MAX_FILES)
          throw new CliError(`The build context has more than ${MAX_FILES} files.`);
        const file = join(directory, path);
        const hash = createHash('sha256');
        await pipeline(createReadStream(file), hash);
        const { mode, size } = await stat(file);
        found.push({ path, file, mode: mode & 0o7777, bytes: size, sha256: hash.digest('hex') });
      }
    }
  };
  await walk('');
  return found;
}

/** Reads `<Dockerfile>.dockerignore`, or else the context's `.dockerignore`. */
export async function ignoreRules(directory: string, dockerfile: string): Promise<(path: string) => boolean> {
  for (const file of [`${dockerfile}.dockerignore`, join(directory, '.dockerignore')]) {
    const text = await readFile(file, 'utf8').catch(() => undefined);
    if (text !== undefined) return parseIgnore(text);
  }
  return () => false;
}
