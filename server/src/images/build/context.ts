/** The build context of a definition: checked names, and a digest of every file that is computed at most once. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { SkerryError } from '../../errors/skerry-error.ts';
import { fromBytes, toBytes } from '../../platform/byte-paths.ts';
import type { ContextFile } from '../image.ts';
import type { ContextEntry } from '../layers/edit.ts';
import { EditError } from '../layers/edit.ts';
import { ContextTree, matchSources } from '../layers/source-tree.ts';

export class BuildContext {
  readonly #files: ReadonlyMap<string, ContextFile>;
  readonly #digests = new Map<string, Promise<string>>();

  /** @throws SkerryError `invalid-argument` for a name outside the context; of two files with one name the last counts */
  constructor(files: readonly ContextFile[]) {
    this.#files = new Map(files.map((file) => [normalize(file.path), file]));
  }

  /** Path, mode and digest of every file, in order. */
  async fingerprint(
    paths: readonly string[] = [...this.#files.keys()].sort(),
  ): Promise<[string, number, string][]> {
    return Promise.all(
      paths.map(
        async (path): Promise<[string, number, string]> => [
          path,
          this.#files.get(path)?.mode ?? 0,
          await this.#digest(path),
        ],
      ),
    );
  }

  /** The files that COPY sources mean, sorted; `deep` as for `matchSources`. @throws SkerryError `image-build-failed` when one without a wildcard means none */
  match(patterns: readonly string[], deep = false): string[] {
    const tree = new ContextTree([...this.#files].map(([path, { mode }]) => ({ path, file: '', mode })));
    try {
      const roots = patterns.flatMap((pattern) => matchSources(tree, toBytes(pattern), deep)).map(fromBytes);
      return [...this.#files.keys()]
        .filter((path) => roots.some((root) => root === '' || path === root || path.startsWith(`${root}/`)))
        .sort();
    } catch (error) {
      if (!(error instanceof EditError)) throw error;
      const some = [...this.#files.keys()].slice(0, 10).join(', ');
      throw new SkerryError(
        'image-build-failed',
        `${error.message} in the build context (${some === '' ? 'which is empty' : `which has ${some}`})`,
      );
    }
  }

  /** The files as the layer worker takes them; inline contents are written below `workspace`. */
  async stage(paths: readonly string[], workspace: string): Promise<ContextEntry[]> {
    return Promise.all(
      paths.map(async (path, index): Promise<ContextEntry> => {
        const entry = this.#files.get(path);
        if (!entry) throw new Error(`${path} is not in the context`);
        if ('file' in entry.content) return { path, file: entry.content.file, mode: entry.mode };
        const file = join(workspace, `context-${index}`);
        await writeFile(file, entry.content.bytes, { mode: 0o600 });
        return { path, file, mode: entry.mode };
      }),
    );
  }

  #digest(path: string): Promise<string> {
    let digest = this.#digests.get(path);
    if (!digest) {
      digest = digestOf(this.#files.get(path));
      this.#digests.set(path, digest);
    }
    return digest;
  }
}

function normalize(path: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.length === 0 || parts.includes('..') || path.includes('\0') || path.length > 4096) {
    throw new SkerryError(
      'invalid-argument',
      `\`${path.slice(0, 200)}\` cannot be the name of a file in a build context`,
    );
  }
  return parts.join('/');
}

async function digestOf(file: ContextFile | undefined): Promise<string> {
  const hash = createHash('sha256');
  if (!file) throw new Error('the file is not in the context');
  if ('file' in file.content) await pipeline(createReadStream(file.content.file), hash);
  else hash.update(file.content.bytes);
  return hash.digest('hex');
}
