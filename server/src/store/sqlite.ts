/** The embedded database: one SQLite file, opened once, migrated forward on open. */
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { SkerryError } from '../errors/skerry-error.ts';
import { SQLITE_BUSY, sqliteCode } from '../platform/sqlite-code.ts';
import { type Database, migrated, transaction } from './database.ts';
import { migrations } from './migrations.ts';

/** In a data directory. */
export const SQLITE_FILE = 'skerry.db';

/** A statement that is prepared here is one of node:sqlite's own: nothing stands between. */
export class SqliteDatabase extends DatabaseSync implements Database {
  readonly waits = undefined;

  begin(): void {
    this.exec('BEGIN IMMEDIATE');
  }

  commit(): void {
    this.exec('COMMIT');
  }

  rollback(): void {
    this.exec('ROLLBACK');
  }

  /** What was deleted or replaced stays in the file's free places until it is written anew (VACUUM), and in the log until that is taken over. */
  scrub(): void {
    this.exec('VACUUM; PRAGMA wal_checkpoint(TRUNCATE)');
  }
}

/**
 * Opens `<dataDir>/skerry.db`, creating it when missing.
 * @throws SkerryError `conflict` when the file was written by a newer Skerry; it is left as it is
 */
export function openSqlite(dataDir: string): SqliteDatabase {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  return migrated(openFile(join(dataDir, SQLITE_FILE)), migrate);
}

/** A new file with this version's schema and nothing in it, for a copy. Nothing is promised of it before it is closed. */
export function makeSqlite(path: string): SqliteDatabase {
  return migrated(new SqliteDatabase(path, { enableForeignKeyConstraints: false }), migrate);
}

/** What tables have to be written: no virtual columns, which follow from others. */
export const columnsOf = (database: DatabaseSync, table: string): readonly string[] =>
  database
    .prepare('SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0')
    .all(table)
    .map(({ name }) => String(name));

/**
 * WAL with NORMAL survives a killed process without losing a committed row; only a power cut may lose the last ones. It takes memory that is shared with
 * other programs that read the database: a mapped file, and where the disk has no room for a page of it the kernel ends the process that writes there
 * (SIGBUS; not on every file system). So the database is opened for this server alone, which needs none. Only where another program has it open already
 * it is shared with that.
 */
function openFile(path: string): SqliteDatabase {
  const open = (locking: 'EXCLUSIVE' | 'NORMAL', busyMs: number): SqliteDatabase => {
    const database = new SqliteDatabase(path);
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

function migrate(database: SqliteDatabase): void {
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
