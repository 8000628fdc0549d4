/** Moves the records of a data directory from SQLite to PostgreSQL, while no server runs. */
import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';
import { KEPT, LEFT_OUT } from './backup.ts';
import { beginPair, completePair, dropPair } from './data-directory.ts';
import { type Database, transaction, type Value } from './database.ts';
import type { DatabaseSource } from './postgres/connection.ts';
import { openPostgres } from './postgres/open-postgres.ts';
import { columnsOf, openSqlite, SQLITE_FILE, type SqliteDatabase } from './sqlite.ts';

/** The file of SQLite is kept under this name. */
export const MOVED_FILE = `${SQLITE_FILE}.moved`;

/** Values that one statement may have, of 65,535 that the protocol allows. */
const MOST_VALUES = 10_000;
/** Counted up by either database for itself; rows go in their order. */
const COUNTED = new Set(['seq']);
/** Some rows refer to these. */
const FIRST = 'environments';
const TABLES = [FIRST, ...[...KEPT, ...LEFT_OUT].filter((table) => table !== FIRST)];
/** Their order is that of their making, which lists show. */
const IN_ORDER: Readonly<Record<string, string>> = {
  ...{ sandbox_events: 'rowid', volume_mounts: 'rowid', life_events: 'seq', webhook_messages: 'seq' },
};

/**
 * All rows in one transaction, those of sandboxes that run too. After a failure nothing has changed; after a crash it is done again.
 * @returns how many rows
 * @throws SkerryError `invalid-argument` when there is nothing to move; `conflict` when the database has records already; as `openPostgres`
 */
export function moveRecords(dataDir: string, database: DatabaseSource): number {
  const path = join(dataDir, SQLITE_FILE);
  if (!existsSync(path))
    throw new SkerryError('invalid-argument', `There is no ${SQLITE_FILE} in ${dataDir} to move.`);
  const to = openPostgres(database);
  try {
    const from = openSqlite(dataDir);
    let rows: number;
    try {
      rows = copyAll(from, to, dataDir);
    } finally {
      from.close();
    }
    renameSync(path, join(dataDir, MOVED_FILE));
    completePair(dataDir);
    return rows;
  } finally {
    to.close();
  }
}

function copyAll(from: SqliteDatabase, to: Database, dataDir: string): number {
  const id = beginPair(dataDir);
  try {
    return transaction(to, () => {
      // The one before was killed when all was there: what the file has since, nobody could have written.
      if (to.prepare("SELECT 1 FROM settings WHERE key = 'data-directory' AND value = ?").get(id)) return 0;
      if (to.prepare('SELECT 1 FROM settings').get())
        throw new SkerryError('conflict', 'That database has records already: move into a new one.');
      const counts = TABLES.map((table) => copyTable(from, to, table));
      to.prepare("INSERT INTO settings (key, value) VALUES ('data-directory', ?)").run(id);
      return counts.reduce((sum, count) => sum + count, 0);
    });
  } catch (error) {
    dropPair(dataDir);
    throw error;
  }
}

function copyTable(from: SqliteDatabase, to: Database, table: string): number {
  const columns = columnsOf(from, table).filter((name) => !COUNTED.has(name));
  const names = columns.map((name) => `"${name}"`).join(', ');
  const order = IN_ORDER[table] === undefined ? '' : ` ORDER BY ${IN_ORDER[table]}`;
  const most = Math.floor(MOST_VALUES / columns.length);
  let batch: Value[] = [];
  let count = 0;
  const send = () => {
    if (batch.length === 0) return;
    const row = `(${columns.map(() => '?').join(', ')})`;
    const rows = Array.from({ length: batch.length / columns.length }, () => row).join(', ');
    to.prepare(`INSERT INTO ${table} (${names}) VALUES ${rows}`).run(...batch);
    batch = [];
  };
  for (const row of from.prepare(`SELECT ${names} FROM ${table}${order}`).iterate()) {
    batch.push(...columns.map((name) => row[name] ?? null));
    count++;
    if (count % most === 0) send();
  }
  send();
  return count;
}
