/** Opens a database of PostgreSQL and brings its schema to this version. */
import { SkerryError } from '../../errors/skerry-error.ts';
import { migrated, transaction } from '../database.ts';
import { migrations } from '../migrations.ts';
import type { DatabaseSource } from './connection.ts';
import { PostgresDatabase } from './postgres-database.ts';
import { FIRST_VERSION, firstSchema } from './schema.ts';

/** What takes the schema on from `FIRST_VERSION`, in order: one for each of SQLite's after that. An entry that was released is never edited. */
const later: readonly string[] = [];

/**
 * @throws SkerryError `invalid-argument` for a URL that is none; `unavailable` when it does not answer or lets nobody in; `conflict` when another server works on it, or a newer Skerry did: it is left as it is
 */
export function openPostgres(source: DatabaseSource): PostgresDatabase {
  return migrated(new PostgresDatabase(source), migrate);
}

function migrate(database: PostgresDatabase): void {
  transaction(database, () => {
    database.exec('CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)');
    const row = database.prepare('SELECT version FROM schema_version').get();
    const current = Number(row?.version ?? 0);
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
