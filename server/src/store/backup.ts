/** A copy of the store that another installation can begin from: everything but sandboxes, which are more than their rows. */
import { rmSync } from 'node:fs';
import { backup, DatabaseSync, type SQLInputValue } from 'node:sqlite';
import type { StoreCopy } from '../storage/backup.ts';
import { type Database, transaction } from './database.ts';
import { PostgresDatabase } from './postgres/postgres-database.ts';
import { columnsOf, makeSqlite, SqliteDatabase } from './sqlite.ts';

/** Each is about single sandboxes, what they run or wrote, which server keeps them and what others are told of them, or about calls that clients repeat within minutes. */
export const LEFT_OUT = [
  ...['sandboxes', 'processes', 'sandbox_events', 'life_events', 'legacy_execs', 'tunnels', 'gateways'],
  ...['mounted_layers', 'task_images', 'volume_mounts', 'memory_snapshots', 'idempotency'],
  ...['webhook_messages', 'members'],
] as const;

/** What outlasts sandboxes. */
export const KEPT = [
  ...[
    'apps',
    'environments',
    'image_names',
    'image_steps',
    'images',
    'layers',
    'mounts',
    'secrets',
    'settings',
  ],
  ...['volume_blocks', 'volumes'],
] as const;

/**
 * Writes a copy to `path`, one file, as the store is at one moment; it is used meanwhile as ever.
 * @returns the schema it has, and what of the data directory it refers to
 * @throws SkerryError `unavailable` when the database does not answer
 */
export async function copyDatabase(database: Database, path: string): Promise<StoreCopy> {
  if (database instanceof SqliteDatabase) await backup(database, path);
  else if (database instanceof PostgresDatabase) await copyPostgres(database, path);
  else throw new Error('a database that nobody copies');
  const copy = new DatabaseSync(path);
  try {
    copy.exec(`PRAGMA journal_mode = DELETE; PRAGMA foreign_keys = OFF; BEGIN;
      ${LEFT_OUT.map((table) => `DELETE FROM ${table};`).join('\n')}
      DELETE FROM settings WHERE key IN ('boot-id', 'data-directory');
      DELETE FROM volume_blocks WHERE holder NOT IN (SELECT value FROM volumes, json_each(volumes.layers));
      COMMIT; VACUUM`);
    const ids = (sql: string) =>
      copy
        .prepare(sql)
        .all()
        .map(({ id }) => String(id));
    return {
      schema: Number(copy.prepare('PRAGMA user_version').get()?.user_version),
      imageLayers: ids('SELECT id FROM layers'),
      volumeLayers: ids('SELECT DISTINCT value AS id FROM volumes, json_each(volumes.layers)'),
      files: ids(
        `SELECT DISTINCT json_extract(file.value, '$.sha256Hex') AS id FROM mounts, json_each(mounts.files) AS file`,
      ),
    };
  } finally {
    copy.close();
  }
}

/** The same tables in a file of SQLite: what is restored of it is a data directory with records of its own. */
async function copyPostgres(from: PostgresDatabase, path: string): Promise<void> {
  rmSync(path, { force: true });
  const to = makeSqlite(path);
  try {
    const tables = KEPT.map((table) => ({ table, columns: columnsOf(to, table) }));
    await from.readTables(tables, ({ table, columns }, rows) => {
      const names = columns.map((name) => `"${name}"`).join(', ');
      const insert = to.prepare(
        `INSERT INTO ${table} (${names}) VALUES (${columns.map(() => '?').join(', ')})`,
      );
      // Columns of both have the same types, which a test compares.
      transaction(to, () => {
        for (const row of rows) insert.run(...columns.map((name) => row[name] as SQLInputValue));
      });
    });
  } finally {
    to.close();
  }
}
