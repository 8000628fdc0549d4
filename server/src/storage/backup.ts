/**
 * A copy of what the data directory holds that outlasts sandboxes, made while the server runs: the store as it is at one moment, and the layers and uploaded files that
 * it refers to. These never change once they have their name, so they are copied without holding anybody up; what was removed before it was copied shows when the store's
 * copy is compared with what is there, and then all is done once more. A later backup into the same directory copies what is new alone.
 *
 * What opens secrets is not in it (`vault.key`, `token.json`, `tls/`): whoever has only the backup learns none.
 */

import { constants, existsSync, statSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { SkerryError } from '../errors/skerry-error.ts';
import { run } from '../platform/command.ts';
import type { MachineRoom } from '../platform/machine-room.ts';
import { replaceFile } from '../platform/replace-file.ts';
import { withinRoom } from '../platform/room-watch.ts';
import { syncFilesystem } from '../platform/sync-filesystem.ts';
import type { AesVault } from '../secrets/vault.ts';

/** A layer may have very many files. */
const COPY_TIMEOUT_MS = 2 * 3_600_000;
/** Rounds in which something that is needed went before it was copied. */
const MOST_ROUNDS = 5;
const FORMAT = 1;
export const STORE_FILE = 'skerry.db';
const MANIFEST = 'backup.json';

/** What the directory of a backup says of itself; `begun` until one is complete. */
const manifestSchema = z.discriminatedUnion('state', [
  z.object({ format: z.literal(FORMAT), state: z.literal('begun') }),
  z.object({
    format: z.literal(FORMAT),
    state: z.literal('complete'),
    /** The version of Skerry that made it, and of its store. */
    skerry: z.string(),
    schema: z.number(),
    createdAtMs: z.number(),
    /** @see BackupParts.keyCheck */
    keyCheck: z.string(),
  }),
]);
type Manifest = z.infer<typeof manifestSchema>;

/** What a copy of the store refers to, by name. */
export interface StoreCopy {
  readonly schema: number;
  readonly imageLayers: readonly string[];
  readonly volumeLayers: readonly string[];
  /** SHA-256, hexadecimal. */
  readonly files: readonly string[];
}

export interface BackupParts {
  readonly dataDir: string;
  /** Writes a consistent copy of the store, without sandboxes, to that path. */
  readonly copyStore: (path: string) => Promise<StoreCopy>;
  /** Makes versions of what sandboxes wrote in volumes. */
  readonly commitVolumes: () => Promise<void>;
  /** Tells the right vault key from a wrong one, and nothing of it. */
  readonly keyCheck: string;
  readonly version: string;
  readonly room: MachineRoom;
  readonly now: () => number;
}

export interface BackupMade {
  readonly imageLayers: number;
  readonly volumeLayers: number;
  readonly files: number;
  /** Of these, what was not there already. */
  readonly copied: number;
}

/** @see BackupParts.keyCheck */
export const backupKeyCheck = (vault: Pick<AesVault, 'deriveKey'>): string =>
  Buffer.from(vault.deriveKey('backup-check')).toString('hex');

interface Kind {
  readonly place: string;
  readonly names: (copy: StoreCopy) => readonly string[];
  /** Below the place; nothing else is ever copied. */
  readonly path: (name: string) => string;
}

const plain = (name: string) => name;
const KINDS: readonly Kind[] = [
  { place: 'images/layers', names: ({ imageLayers }) => imageLayers, path: plain },
  { place: 'volumes/layers', names: ({ volumeLayers }) => volumeLayers, path: plain },
  { place: 'blobs/sha256', names: ({ files }) => files, path: (digest) => join(digest.slice(0, 2), digest) },
];

/** Of a directory that is a backup, or is to become one. @throws SkerryError `invalid-argument` for any other */
export async function readManifest(directory: string): Promise<Manifest> {
  try {
    return manifestSchema.parse(JSON.parse(await readFile(join(directory, MANIFEST), 'utf8')));
  } catch (cause) {
    throw new SkerryError('invalid-argument', `There is no backup of Skerry in ${directory}.`, { cause });
  }
}

/** Makes a directory ready for a backup; one that has a backup stays as it is. @throws SkerryError `invalid-argument` for one that holds anything else */
export async function prepareBackup(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const entries = await readdir(directory);
  if (entries.length > 0) {
    await readManifest(directory);
    return;
  }
  await writeManifest(directory, { format: FORMAT, state: 'begun' });
}

/**
 * Makes a backup in a directory that was prepared for one. Who can prepare it may write on this machine, which a token alone does not tell.
 * @throws SkerryError `invalid-argument` for one that was not, or that others may write in; `disk-full`
 */
export async function backUp(directory: string, parts: BackupParts): Promise<BackupMade> {
  const { uid, mode, dev } = statSync(directory, { throwIfNoEntry: false }) ?? {};
  if (uid !== process.getuid?.() || ((mode ?? 0) & 0o022) !== 0) {
    throw new SkerryError(
      'invalid-argument',
      `${directory} is not the server's alone: its user must own it, and nobody else may write in it.`,
    );
  }
  await readManifest(directory);
  const signal = AbortSignal.timeout(COPY_TIMEOUT_MS);
  const work = (stop: AbortSignal) => copyAll(directory, parts, stop);
  return dev === statSync(parts.dataDir).dev ? withinRoom({ room: parts.room, signal }, work) : work(signal);
}

async function copyAll(directory: string, parts: BackupParts, signal: AbortSignal): Promise<BackupMade> {
  const { dataDir, copyStore, commitVolumes, keyCheck, version, now } = parts;
  const temporary = join(directory, 'tmp');
  const store = join(temporary, STORE_FILE);
  const at = (root: string, { place, path }: Kind, name: string) => join(root, place, path(name));
  await rm(temporary, { recursive: true, force: true });
  await mkdir(temporary, { mode: 0o700 });
  await commitVolumes();
  let copied = 0;
  for (let round = 1; ; round++) {
    const createdAtMs = now();
    const copy = await copyStore(store);
    let gone = 0;
    for (const kind of KINDS) {
      for (const name of kind.names(copy)) {
        signal.throwIfAborted();
        const target = at(directory, kind, name);
        if (existsSync(target)) continue;
        if (await copyOne(at(dataDir, kind, name), target, join(temporary, name), signal)) copied++;
        else gone++;
      }
    }
    if (gone > 0 && round < MOST_ROUNDS) continue;
    if (gone > 0) {
      throw new SkerryError(
        'unavailable',
        `${gone} layers or files went before they were copied, ${MOST_ROUNDS} times. Try again.`,
      );
    }
    await syncFilesystem(directory);
    await rename(store, join(directory, STORE_FILE));
    await writeManifest(directory, {
      ...{ format: FORMAT, state: 'complete', skerry: version, schema: copy.schema, createdAtMs, keyCheck },
    });
    await keepOnly(directory, copy);
    await rm(temporary, { recursive: true });
    await syncFilesystem(directory);
    return {
      imageLayers: copy.imageLayers.length,
      volumeLayers: copy.volumeLayers.length,
      files: copy.files.length,
      copied,
    };
  }
}

/** @returns false when the original went, or is gone */
async function copyOne(from: string, to: string, made: string, signal: AbortSignal): Promise<boolean> {
  await mkdir(dirname(to), { recursive: true, mode: 0o700 });
  await rm(made, { recursive: true, force: true });
  try {
    const stats = await stat(from);
    if (stats.isDirectory()) {
      await run(['cp', '--archive', '--reflink=auto', '--', from, made], {
        timeoutMs: COPY_TIMEOUT_MS,
        signal,
      });
    } else {
      await copyFile(from, made, constants.COPYFILE_FICLONE);
      await utimes(made, stats.atime, stats.mtime);
    }
  } catch (error) {
    if (existsSync(from)) throw error;
    return false;
  }
  // What goes while it is copied may have been copied in part.
  if (!existsSync(from)) return false;
  await rename(made, to);
  return true;
}

/** Removes what an earlier backup had and this one does not. */
async function keepOnly(directory: string, copy: StoreCopy): Promise<void> {
  for (const { place, names, path } of KINDS) {
    const root = join(directory, place);
    const kept = new Set(names(copy).map(path));
    const found = await readdir(root, { recursive: path !== plain }).catch(() => []);
    const depth = path === plain ? 1 : 2;
    for (const name of found.filter((entry) => entry.split('/').length === depth && !kept.has(entry)))
      await rm(join(root, name), { recursive: true, force: true });
  }
}

const writeManifest = (directory: string, manifest: Manifest): Promise<void> =>
  replaceFile(join(directory, MANIFEST), `${JSON.stringify(manifest)}\n`);
