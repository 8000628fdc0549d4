import { type Database, transaction } from '../database.ts';
import { SqliteDatabase } from '../sqlite.ts';

/**
 * Has the database refuse that change of a table, as one without room does, until the returned function is called.
 * @param when a condition on `OLD` and `NEW`; without one, always
 */
export function refuseChanges(
  database: Database,
  change: 'INSERT' | 'UPDATE' | 'DELETE',
  table: string,
  when = '1 = 1',
): () => void {
  const begin = `CREATE TRIGGER refuses BEFORE ${change} ON ${table} FOR EACH ROW WHEN (${when})`;
  const message = 'database or disk is full';
  if (database instanceof SqliteDatabase) {
    database.exec(`${begin} BEGIN SELECT RAISE(ABORT, '${message}'); END`);
    return () => database.exec('DROP TRIGGER refuses');
  }
  transaction(database, () => {
    database.exec(
      `CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '${message}'; END $$`,
    );
    database.exec(`${begin} EXECUTE FUNCTION refuses()`);
  });
  return () => database.exec('DROP FUNCTION refuses CASCADE');
}
