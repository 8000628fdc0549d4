/** Where the records of a data directory are, and whether the database does: for whoever looks after it. Changes nothing, and is no hindrance to a server that works there. */
import { join } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';
import { checkNoOwnRecords, checkOwnRecords } from './data-directory.ts';
import type { DatabaseSource } from './postgres/connection.ts';
import { SQLITE_FILE } from './sqlite.ts';

/** Above this a sandbox that is made holds the server up for 40 ms, in which it does nothing else. */
const SLOW_MS = 2;

const MEND = 'Mend that. Until then no server starts, and one that runs refuses what needs records.';

/** A line of `skerry doctor`, and what it is made of. */
export interface RecordsCheck {
  readonly name: 'records';
  readonly ok: boolean;
  /** Without it no server works. */
  readonly required: boolean;
  readonly found: string;
  readonly remedy: string;
  readonly database: 'SQLite' | 'PostgreSQL';
  /** The file, or `host:port/name`. */
  readonly place: string;
  /** As the database says it; undefined where it does not answer. */
  readonly version?: string;
  /** For one statement there and back: the median of a few, milliseconds. */
  readonly roundTripMs?: number;
}

interface RecordsSettings {
  readonly dataDir: string;
  /** Empty for none. */
  readonly databaseUrl: string;
  readonly databasePasswordFile: string;
}

/** Takes as long as a connection does, seconds at worst; never rejects. */
export async function checkRecords({
  dataDir,
  databaseUrl,
  databasePasswordFile,
}: RecordsSettings): Promise<RecordsCheck> {
  if (databaseUrl !== '')
    return checkPostgres(dataDir, { url: databaseUrl, passwordFile: databasePasswordFile });
  const place = join(dataDir, SQLITE_FILE);
  const { sqlite: version = '' } = process.versions;
  const about = { name: 'records', database: 'SQLite', place, version, required: true } as const;
  try {
    checkOwnRecords(dataDir);
    return { ...about, ok: true, found: `SQLite ${version} in ${place}`, remedy: '' };
  } catch (error) {
    return {
      ...about,
      ok: false,
      found: error instanceof Error ? error.message : String(error),
      remedy: MEND,
    };
  }
}

async function checkPostgres(dataDir: string, source: DatabaseSource): Promise<RecordsCheck> {
  const about = { name: 'records', database: 'PostgreSQL' } as const;
  // Loads the driver, which a server with SQLite does without.
  const [{ parseDatabaseUrl }, { probe }, { toSkerryError, Unusable }] = await Promise.all([
    import('./postgres/database-url.ts'),
    import('./postgres/probe.ts'),
    import('./postgres/unusable.ts'),
  ]);
  let place = '';
  try {
    place = parseDatabaseUrl(source.url).place;
    checkNoOwnRecords(dataDir);
    const { version, roundTripMs } = await probe(source);
    const found = `PostgreSQL ${version} at ${place}, ${roundTripMs.toFixed(2)} ms for a statement`;
    return {
      ...{ ...about, place, version, roundTripMs, found, ok: roundTripMs <= SLOW_MS, required: false },
      remedy: `That is slow: the server waits for each statement, some twenty for a sandbox, and does nothing else meanwhile. Have PostgreSQL on the same machine or in the same rack, and see what keeps it busy.`,
    };
  } catch (error) {
    const isAway = !(error instanceof Unusable || error instanceof SkerryError);
    return {
      ...{ ...about, place, ok: false, required: true, found: toSkerryError(place, error).message },
      remedy: isAway
        ? 'Start it, or let this machine reach it. Until then no server starts, and one that runs refuses what needs records.'
        : MEND,
    };
  }
}
