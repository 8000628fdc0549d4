/** Reads tables as they are at one moment, over a connection of its own and without holding up the server, which goes on to use them. */
import pg from 'pg';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { Row } from '../database.ts';
import { placeOf } from './postgres-database.ts';
import { rowTypes } from './row-types.ts';
import { CONNECT_TIMEOUT_MS } from './timeouts.ts';

/** Rows that are in memory at once. */
const BATCH = 1000;

export interface TableColumns {
  readonly table: string;
  readonly columns: readonly string[];
}

/** @throws SkerryError `unavailable` when the database does not answer */
export async function readTables(
  url: string,
  tables: readonly TableColumns[],
  take: (table: TableColumns, rows: readonly Row[]) => void,
): Promise<void> {
  const client = new pg.Client({
    ...{ connectionString: url, types: rowTypes, application_name: 'skerry backup' },
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  client.on('error', () => {}); // the statement under way fails with it
  try {
    await client.connect();
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
    throw new SkerryError('unavailable', `The database at ${placeOf(url)} does not answer.`, { cause });
  } finally {
    await client.end().catch(() => {});
  }
}
