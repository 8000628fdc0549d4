/** The files of a directory that a build may copy: all but what its `.dockerignore` leaves out (https://docs.docker.com/build/concepts/context/#dockerignore-files). */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
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

/** Whether a path is left out: the last line that speaks of it, or of a directory that it is in, decides; `!` takes back. */
export function parseIgnore(text: string): (path: string) => boolean {
  const rules = text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .filter((line) => !line.startsWith('#') && line.trim() !== '')
    .map((line) => {
      const trimmed = line.trim();
      const takesBack = trimmed.startsWith('!');
      const pattern = posix.normalize(`/${takesBack ? trimmed.slice(1).trim() : trimmed}`);
      return { takesBack, matches: matcher(pattern.split('/').filter((part) => part !== '')) };
    });
  return (path) => {
    const parts = path.split('/');
    const speaksOf = parts.map((_, at) => parts.slice(0, at + 1).join('/'));
    let ignored = false;
    for (const { takesBack, matches } of rules) if (speaksOf.some(matches)) ignored = !takesBack;
    return ignored;
  };
}

/** `*`, `?`, `[a-z]` within a name, `**` for any number of names. */
function matcher(parts: readonly string[]): (path: string) => boolean {
  if (parts.length === 0) return () => false;
  const source = parts.map((part, at) => {
    if (part === '**') return at === parts.length - 1 ? '.*' : '(?:[^/]+/)*';
    const name = part.replace(
      /\\(.)|\*+|\?|\[(\^?)([^\]]+)\]|[.+^${}()|[\]\\]/g,
      (all, escaped, not, inner) => {
        if (escaped !== undefined) return escapeRegExp(escaped);
        if (all.startsWith('*')) return '[^/]*';
        if (all === '?') return '[^/]';
        if (inner !== undefined) return `[${not}${inner.replace(/[\\[\]]/g, '\\$&')}]`;
        return escapeRegExp(all);
      },
    );
    return at === parts.length - 1 ? name : `${name}/`;
  });
  const pattern = new RegExp(`^${source.join('')}$`, 's');
  return (path) => pattern.test(path);
}

const escapeRegExp = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&');
