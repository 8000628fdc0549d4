/** A copy of the store that another installation can begin from: everything but sandboxes, which are more than their rows. */
import { backup, DatabaseSync } from 'node:sqlite';
import { SkerryError } from '../errors/skerry-error.ts';
import type { StoreCopy } from '../storage/backup.ts';
import type { Database } from './database.ts';
import { SqliteDatabase } from './sqlite.ts';

/** Each is about single sandboxes, what they run or wrote and what others are told of them, or about calls that clients repeat within minutes. */
export const LEFT_OUT = [
  ...['sandboxes', 'processes', 'sandbox_events', 'life_events', 'legacy_execs', 'tunnels', 'gateways'],
  ...['mounted_layers', 'task_images', 'volume_mounts', 'memory_snapshots', 'idempotency'],
  'webhook_messages',
] as const;

/**
 * Writes a copy to `path`, one file, as the store is at one moment; it is used meanwhile as ever.
 * @returns the schema it has, and what of the data directory it refers to
 * @throws SkerryError `unimplemented` for another database than SQLite
 */
export async function copyDatabase(database: Database, path: string): Promise<StoreCopy> {
  if (!(database instanceof SqliteDatabase)) {
    throw new SkerryError(
      'unimplemented',
      'The records of this server are in PostgreSQL, which skerry backup does not copy: stop the server, run pg_dump and copy the data directory (docs/operations.md).',
    );
  }
  await backup(database, path);
  const copy = new DatabaseSync(path);
  try {
    copy.exec(`PRAGMA journal_mode = DELETE; PRAGMA foreign_keys = OFF; BEGIN;
      ${LEFT_OUT.map((table) => `DELETE FROM ${table};`).join('\n')}
      DELETE FROM settings WHERE key = 'boot-id';
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
