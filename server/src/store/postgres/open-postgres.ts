/** Opens a database of PostgreSQL and brings its schema to this version. */
import { SkerryError } from '../../errors/skerry-error.ts';
import { migrated, transaction } from '../database.ts';
import { migrations } from '../migrations.ts';
import type { DatabaseSource } from './connection.ts';
import { PostgresDatabase } from './postgres-database.ts';
import { FIRST_VERSION, firstSchema, TEXT } from './schema.ts';

/** What takes the schema on from `FIRST_VERSION`, in order: one for each of SQLite's after that. An entry that was released is never edited. */
const later: readonly string[] = [
  /* 28 */ `
  ALTER TABLE sandboxes ADD COLUMN member_id ${TEXT};
  CREATE TABLE members (id ${TEXT} PRIMARY KEY, lock_key BIGINT NOT NULL UNIQUE, place ${TEXT} NOT NULL, since_ms BIGINT NOT NULL);
  `,
];

/**
 * Opens it for a server that keeps sandboxes under one that leads: what it holds is `lock`, and the schema is the other's to change.
 * @throws SkerryError as `openPostgres`; `conflict` when that one is of another version
 */
export function joinPostgres(source: DatabaseSource, lock: string): PostgresDatabase {
  return migrated(new PostgresDatabase(source, { lock }), (database) => {
    const version = versionOf(database);
    if (version === migrations.length) return;
    throw new SkerryError(
      'conflict',
      `The server that leads is of another version: the database at ${database.place} has schema ${version}, this one needs ${migrations.length}.`,
    );
  });
}

/** 0 where nobody was here yet. */
const versionOf = (database: PostgresDatabase): number =>
  Number(database.prepare('SELECT version FROM schema_version').get()?.version ?? 0);

/**
 * @throws SkerryError `invalid-argument` for a URL that is none; `unavailable` when it does not answer or lets nobody in; `conflict` when another server works on it, or a newer Skerry did: it is left as it is
 */
export function openPostgres(source: DatabaseSource): PostgresDatabase {
  return migrated(new PostgresDatabase(source), migrate);
}

function migrate(database: PostgresDatabase): void {
  transaction(database, () => {
    database.exec('CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)');
    const current = versionOf(database);
    if (current > migrations.length) {
      throw new SkerryError(
        'conflict',
        `The database at ${database.place} was used by a newer Skerry: it has schema ${current}, this version knows up to ${migrations.length}. Nothing was changed. Start the newer version again, restore a dump of this one, or use another database.`,
      );
    }
    if (current === 0) {
      database.exec(firstSchema);
      database.exec(`INSERT INTO schema_version VALUES (${FIRST_VERSION})`);
    }
    for (const [index, sql] of later.entries()) {
      const version = FIRST_VERSION + index + 1;
      if (version <= current) continue;
      database.exec(sql);
      database.exec(`UPDATE schema_version SET version = ${version}`);
    }
  });
}
