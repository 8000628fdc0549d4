/**
 * The embedded database: one SQLite file, opened once, migrated forward on open. The repositories beside this file, one per aggregate, write their own
 * statements; `store.ts` has them all.
 */
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { SkerryError } from '../errors/skerry-error.ts';
import { SQLITE_BUSY, sqliteCode } from '../platform/sqlite-code.ts';
import { migrations } from './migrations.ts';

export type Database = DatabaseSync;

/**
 * Opens `<dataDir>/skerry.db`, creating it when missing.
 * @throws SkerryError `conflict` when the file was written by a newer Skerry; it is left as it is
 */
export function openDatabase(dataDir: string): Database {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const path = join(dataDir, 'skerry.db');
  const database = openFile(path);
  try {
    migrate(database);
    return database;
  } catch (error) {
    database.close(); // else the file stays locked
    throw error;
  }
}

/**
 * WAL with NORMAL survives a killed process without losing a committed row; only a power cut may lose the last ones. It takes memory that is shared with
 * other programs that read the database: a mapped file, and where the disk has no room for a page of it the kernel ends the process that writes there
 * (SIGBUS; not on every file system). So the database is opened for this server alone, which needs none. Only where another program has it open already
 * it is shared with that.
 */
function openFile(path: string): Database {
  const open = (locking: 'EXCLUSIVE' | 'NORMAL', busyMs: number): Database => {
    const database = new DatabaseSync(path);
    try {
      chmodSync(path, 0o600);
      database.exec(
        `PRAGMA busy_timeout = ${busyMs}; PRAGMA locking_mode = ${locking}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         PRAGMA foreign_keys = ON; SELECT count(*) FROM sqlite_schema; PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`,
      );
      return database;
    } catch (error) {
      database.close();
      throw error;
    }
  };
  try {
    return open('EXCLUSIVE', 0);
  } catch (error) {
    if (!isBusy(error)) throw error;
    return open('NORMAL', BUSY_TIMEOUT_MS);
  }
}

/** How long another program may hold a lock. */
const BUSY_TIMEOUT_MS = 5000;

/** SQLITE_BUSY of any kind. */
const isBusy = (error: unknown): boolean => ((sqliteCode(error) ?? 0) & 0xff) === SQLITE_BUSY;

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
      'conflict',
      `The data directory was used by a newer Skerry: its database has schema ${current}, this version knows up to ${migrations.length}. Nothing was changed. Start the newer version again, restore a backup of this one (skerry restore), or use another --data-dir.`,
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
