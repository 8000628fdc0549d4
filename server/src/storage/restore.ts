/** Makes a data directory of a backup. */
import { cp, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';
import { run } from '../platform/command.ts';
import { syncFilesystem } from '../platform/sync-filesystem.ts';
import { readManifest, STORE_FILE } from './backup.ts';

const COPY_TIMEOUT_MS = 2 * 3_600_000;
const PARTS = [STORE_FILE, 'images', 'volumes', 'blobs'] as const;
/** What opens what is in it, and how clients know the server: kept apart from a backup. */
const KEY_FILES = ['vault.key', 'token.json', 'tls'] as const;

export interface RestoreParts {
  readonly from: string;
  /** With the files that `copyKeys` made; undefined where the vault's key is in the environment. */
  readonly keys: string | undefined;
  /** Must not exist, or be empty. */
  readonly dataDir: string;
  /** The schema that this version knows. */
  readonly schema: number;
  /** What the vault's key in that data directory gives. @throws when there is none or it is malformed */
  readonly keyCheckOf: (dataDir: string) => string;
}

/** Copies what a data directory has of keys. @returns which */
export async function copyKeys(dataDir: string, directory: string): Promise<readonly string[]> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const there = new Set(await readdir(dataDir));
  const files = KEY_FILES.filter((name) => there.has(name));
  for (const name of files) await cp(join(dataDir, name), join(directory, name), { recursive: true });
  return files;
}

/**
 * @returns when the backup was made, Unix milliseconds
 * @throws SkerryError `invalid-argument` for what is no complete backup, one of a newer Skerry, a directory in use, another key; then nothing is left behind
 */
export async function restoreBackup({
  from,
  keys,
  dataDir,
  schema,
  keyCheckOf,
}: RestoreParts): Promise<number> {
  const manifest = await readManifest(from);
  if (manifest.state !== 'complete') {
    throw new SkerryError('invalid-argument', `The backup in ${from} was never completed.`);
  }
  if (manifest.schema > schema) {
    throw new SkerryError(
      'invalid-argument',
      `The backup was made by Skerry ${manifest.skerry} with schema ${manifest.schema}; this one knows up to ${schema}. Restore it with that version or a newer one.`,
    );
  }
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  if ((await readdir(dataDir)).length > 0) {
    throw new SkerryError('invalid-argument', `${dataDir} is not empty: restore into a new --data-dir.`);
  }
  try {
    if (keys !== undefined) await copyKeys(keys, dataDir);
    if (keyCheckOf(dataDir) !== manifest.keyCheck) {
      throw new SkerryError(
        'invalid-argument',
        'The key is not the one of this backup: nothing in it could be opened.',
      );
    }
    const there = new Set(await readdir(from));
    const parts = PARTS.filter((part) => there.has(part)).map((part) => join(from, part));
    await run(['cp', '--archive', '--reflink=auto', '--', ...parts, dataDir], { timeoutMs: COPY_TIMEOUT_MS });
    await syncFilesystem(dataDir);
  } catch (error) {
    for (const name of await readdir(dataDir))
      await rm(join(dataDir, name), { recursive: true, force: true });
    throw error;
  }
  return manifest.createdAtMs;
}
