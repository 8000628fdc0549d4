/** What a database must be so that records can be kept in it, looked at before anything else is asked of a connection. */
import pg from 'pg';
import { connectTo, type DatabaseSource } from './connection.ts';
import { Unusable } from './unusable.ts';

/** The schema's generated columns came with 12; 13 is the oldest that the tests were run with. */
export const OLDEST_VERSION = 13;
/** For an answer. Where the database is away, a pooler takes clients all the same and has them wait. */
const ANSWER_TIMEOUT_MS = 2_000;

const FACTS = `SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number`;
const PROCESS = 'SELECT pg_backend_pid() AS pid';

/**
 * @returns its version, as it says it itself
 * @throws Unusable for a version before `OLDEST_VERSION`, and for a pooler that gives each transaction another connection
 */
export async function checkFit(client: pg.Client, source: DatabaseSource): Promise<string> {
  const { version, number } = (await client.query(patiently(FACTS))).rows[0];
  if (Math.floor(number / 10_000) < OLDEST_VERSION)
    throw new Unusable(`it is PostgreSQL ${version}, and Skerry needs ${OLDEST_VERSION} or a newer one`);
  const { processID: announced } = client as pg.Client & { readonly processID: number };
  // A pooler tells clients of a process of its own: https://www.postgresql.org/docs/current/protocol-flow.html, BackendKeyData.
  if ((await processOf(client)) !== announced && (await isShared(client, source)))
    throw new Unusable(
      'a pooler is between that gives each transaction another connection, and with one goes the lock that keeps other servers out: set pool_mode = session for this database in PgBouncer, or name the port of PostgreSQL itself',
    );
  return version;
}

/** Whether a connection of the database is handed on when it does nothing: to the next client that asks, or in turns. */
async function isShared(client: pg.Client, source: DatabaseSource): Promise<boolean> {
  const mine = await processOf(client);
  const other = await connectTo(source, 'skerry');
  try {
    await other.query(patiently('BEGIN'));
    if ((await processOf(other)) === mine) return true;
  } catch (error) {
    // Where each statement has another connection there are no transactions. One who waits in vain shows that none is handed on.
    return error instanceof pg.DatabaseError;
  } finally {
    other.end().catch(() => {});
  }
  return (await processOf(client)) !== mine;
}

const processOf = async (on: pg.Client): Promise<number> => (await on.query(patiently(PROCESS))).rows[0].pid;

/** The types of `pg` know neither this nor `processID`. */
const patiently = (text: string) => ({ text, query_timeout: ANSWER_TIMEOUT_MS });
