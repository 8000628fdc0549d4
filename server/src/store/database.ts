/**
 * The embedded database: one SQLite file, opened once, migrated forward on open. The repositories beside this file, one per aggregate, write their own
 * statements; `store.ts` has them all.
 */
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { SkerryError } from '../errors/skerry-error.ts';
import { migrations } from './migrations.ts';

export type Database = DatabaseSync;

/**
 * Opens `<dataDir>/skerry.db`, creating it when missing.
 * @throws SkerryError `internal` when the file was written by a newer Skerry.
 */
export function openDatabase(dataDir: string): Database {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const path = join(dataDir, 'skerry.db');
  const database = openFile(path);
  migrate(database);
  return database;
}

/**
 * WAL with NORMAL survives a killed process without losing a committed row; only a power cut may lose the last ones. It takes a file of memory shared with
 * other programs that read the database, for which a full disk has no room: then it is opened for this server alone, which needs none.
 */
function openFile(path: string): Database {
  const settings =
    'PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000;';
  const open = (first: string): Database => {
    const database = new DatabaseSync(path);
    try {
      chmodSync(path, 0o600);
      database.exec(`${first}${settings}`);
      return database;
    } catch (error) {
      database.close();
      throw error;
    }
  };
  try {
    return open('');
  } catch (error) {
    if (!isOutOfRoom(error)) throw error;
    return open('PRAGMA locking_mode = EXCLUSIVE;');
  }
}

/** SQLITE_IOERR of any kind, SQLITE_FULL: https://www.sqlite.org/rescode.html */
const isOutOfRoom = (error: unknown): boolean =>
  error instanceof Error &&
  'errcode' in error &&
  typeof error.errcode === 'number' &&
  [10, 13].includes(error.errcode & 0xff);

/** Runs `work` in one transaction; rolls back when it throws. Synchronous, as SQLite is. */
export function transaction<T>(database: Database, work: () => T): T {
  database.exec('BEGIN IMMEDIATE');
  try {
    const result = work();
    database.exec('COMMIT');
    return result;
  } catch (error) {
    // On a full disk SQLite has rolled back by itself, and another one would fail and hide why.
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

function migrate(database: Database): void {
  const row = database.prepare('PRAGMA user_version').get();
  const current = Number(row?.user_version ?? 0);
  if (current > migrations.length) {
    throw new SkerryError(
      'internal',
      `The database has schema ${current}, this Skerry knows up to ${migrations.length}. Use the Skerry that wrote it, or another --data-dir.`,
    );
  }
  for (const [index, sql] of migrations.entries()) {
    if (index < current) continue;
    transaction(database, () => {
      database.exec(sql);
      database.exec(`PRAGMA user_version = ${index + 1}`);
    });
  }
}
