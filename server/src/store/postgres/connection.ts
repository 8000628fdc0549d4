/** Connects to a database: with TLS and passwords as its URL says, and with reasons that an operator can act on where it does not work. */
import pg from 'pg';
import { type DatabaseUrl, parseDatabaseUrl } from './database-url.ts';
import { rowTypes } from './row-types.ts';
import { CONNECT_TIMEOUT_MS } from './timeouts.ts';
import { readNamed, tlsOptions } from './tls-options.ts';
import { Unusable } from './unusable.ts';
import { hasNoTls, whyNoConnection } from './why-no-connection.ts';

/** Which database, and as whom. */
export interface DatabaseSource {
  readonly url: string;
  /** A file that has the password and nothing else; empty or left out for none. */
  readonly passwordFile?: string;
}

/** What the database has for a connection: its process, and since when that is. */
export interface Connection {
  readonly pid: number;
  readonly since: string;
}

/** Asks for the one that it is asked on. */
export const OWN_CONNECTION =
  'SELECT pid, backend_start::text AS since FROM pg_stat_activity WHERE pid = pg_backend_pid()';
/** The end of a statement about one, of which it is given `pid` and `since`. */
export const OF_CONNECTION = 'FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2';

/**
 * Files are read each time, so that certificates and passwords may be replaced while a server runs.
 * @throws Unusable for what somebody has to mend; else what the system says, when nobody answers
 */
export async function connectTo(source: DatabaseSource, applicationName: string): Promise<pg.Client> {
  const url = parseDatabaseUrl(source.url);
  const password = passwordOf(url, source);
  const tls = url.host.startsWith('/') ? false : tlsOptions(url);
  try {
    return await connectOnce(url, password, tls, applicationName);
  } catch (error) {
    if (!(url.tls === 'prefer' && hasNoTls(error))) throw whyNoConnection(error, url);
  }
  try {
    return await connectOnce(url, password, false, applicationName);
  } catch (error) {
    throw whyNoConnection(error, url);
  }
}

async function connectOnce(
  url: DatabaseUrl,
  password: string | undefined,
  ssl: pg.ClientConfig['ssl'],
  applicationName: string,
): Promise<pg.Client> {
  const client = new pg.Client({
    ...{ host: url.host, port: Number(url.port), user: url.user, password, database: url.database },
    ...{ ssl, types: rowTypes, keepAlive: true, connectionTimeoutMillis: CONNECT_TIMEOUT_MS },
    ...{ application_name: url.applicationName ?? applicationName, options: url.options },
  });
  client.on('error', () => {}); // the statement under way fails with it
  try {
    await client.connect();
    return client;
  } catch (error) {
    client.end().catch(() => {});
    throw error;
  }
}

function passwordOf({ password }: DatabaseUrl, { passwordFile = '' }: DatabaseSource): string | undefined {
  if (passwordFile === '') return password;
  if (password !== undefined)
    throw new Unusable(
      'there is a password in the URL and another in SKERRY_DATABASE_PASSWORD_FILE: keep one',
    );
  const text = readNamed('SKERRY_DATABASE_PASSWORD_FILE', passwordFile).replace(/\r?\n$/, '');
  if (text === '') throw new Unusable(`the file with its password, ${passwordFile}, is empty`);
  return text;
}
