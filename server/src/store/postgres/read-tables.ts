/** Reads tables as they are at one moment, over a connection of its own and without holding up the server, which goes on to use them. */
import pg from 'pg';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { Row } from '../database.ts';
import { connectTo, type DatabaseSource } from './connection.ts';
import { parseDatabaseUrl } from './database-url.ts';
import { toSkerryError } from './unusable.ts';

/** Rows that are in memory at once. */
const BATCH = 1000;

export interface TableColumns {
  readonly table: string;
  readonly columns: readonly string[];
}

/** @throws SkerryError `unavailable` when the database does not answer */
export async function readTables(
  source: DatabaseSource,
  tables: readonly TableColumns[],
  take: (table: TableColumns, rows: readonly Row[]) => void,
): Promise<void> {
  let client: pg.Client | undefined;
  try {
    client = await connectTo(source, 'skerry backup');
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    for (const each of tables) {
      const columns = each.columns.map((name) => `"${name}"`).join(', ');
      await client.query(`DECLARE rows CURSOR FOR SELECT ${columns} FROM ${each.table}`);
      for (;;) {
        const { rows } = await client.query<Row>(`FETCH ${BATCH} FROM rows`);
        if (rows.length === 0) break;
        take(each, rows);
      }
      await client.query('CLOSE rows');
    }
    await client.query('COMMIT');
  } catch (cause) {
    if (cause instanceof pg.DatabaseError || cause instanceof SkerryError) throw cause;
    throw toSkerryError(parseDatabaseUrl(source.url).place, cause);
  } finally {
    await client?.end().catch(() => {});
  }
}
