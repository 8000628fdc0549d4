/**
 * Which database a data directory belongs to. Both are of no use without each other, and worse: a server removes what its database does not know from the
 * directory. So a directory that has its records in PostgreSQL says so, and has an id that the database knows.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { SkerryError } from '../errors/skerry-error.ts';
import type { PostgresDatabase } from './postgres/postgres-database.ts';
import { SqlSettings } from './settings.ts';
import { SQLITE_FILE } from './sqlite.ts';

const FILE = 'database.json';

/** `begun` until the database knows the id. */
const markSchema = z.object({ id: z.string(), state: z.enum(['begun', 'complete']) });
type Mark = z.infer<typeof markSchema>;

const conflict = (message: string) => new SkerryError('conflict', message);

/** @throws SkerryError `conflict` when that directory's records are in PostgreSQL */
export function checkOwnRecords(dataDir: string): void {
  if (readMark(dataDir))
    throw conflict(
      `The records of ${dataDir} are in PostgreSQL: say where (SKERRY_DATABASE_URL), or use another --data-dir.`,
    );
}

/** @throws SkerryError `conflict` when that directory has its own records */
export function checkNoOwnRecords(dataDir: string): void {
  if (existsSync(join(dataDir, SQLITE_FILE)))
    throw conflict(
      `${dataDir} keeps its records in ${SQLITE_FILE}, not in PostgreSQL: move them there (skerry move-records), start without a database URL, or with a new --data-dir.`,
    );
}

/**
 * Makes a directory and a database one, when both are new.
 * @throws SkerryError `conflict` when one of them belongs to another
 */
export function pair(dataDir: string, database: PostgresDatabase): void {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const settings = new SqlSettings(database);
  const known = settings.get('data-directory');
  const mark = readMark(dataDir);
  if (known !== undefined && mark?.id !== known)
    throw conflict(
      `The database at ${database.place} belongs to another data directory than ${dataDir}: images, volumes and keys are there.`,
    );
  if (known === undefined && mark?.state === 'complete')
    throw conflict(
      `The database at ${database.place} knows nothing of ${dataDir}, whose records are in another one: restore that one's dump, or use a new --data-dir.`,
    );
  if (mark?.state === 'complete') return;
  const id = beginPair(dataDir);
  if (known === undefined) settings.set('data-directory', id);
  completePair(dataDir);
}

/**
 * The id that a database is to know, before it does. From now on the directory is used with that alone.
 * @throws SkerryError `conflict` when there is a database that knows it
 */
export function beginPair(dataDir: string): string {
  if (readMark(dataDir)?.state === 'complete')
    throw conflict(`The records of ${dataDir} are in PostgreSQL already.`);
  const mark = readMark(dataDir) ?? ({ id: randomUUID(), state: 'begun' } as const);
  writeMark(dataDir, mark);
  return mark.id;
}

/** The database knows the id. */
export function completePair(dataDir: string): void {
  const mark = readMark(dataDir);
  if (mark) writeMark(dataDir, { ...mark, state: 'complete' });
}

/**
 * Whether a directory and a database that knows this id belong together; undefined is one that knows none yet.
 * @throws SkerryError `conflict` where they do not
 */
export function checkPair(dataDir: string, known: string | undefined): void {
  if (known !== undefined && readMark(dataDir)?.id !== known)
    throw conflict(
      `The database belongs to another data directory than ${dataDir}: the servers that share one share the other, so mount the same directory there.`,
    );
}

/** No database knows it. */
export function dropPair(dataDir: string): void {
  rmSync(join(dataDir, FILE), { force: true });
}

function readMark(dataDir: string): Mark | undefined {
  const path = join(dataDir, FILE);
  return existsSync(path) ? markSchema.parse(JSON.parse(readFileSync(path, 'utf8'))) : undefined;
}

function writeMark(dataDir: string, mark: Mark): void {
  const path = join(dataDir, FILE);
  writeFileSync(`${path}.new`, `${JSON.stringify(mark)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
