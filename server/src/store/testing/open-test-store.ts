/**
 * The store of a test: SQLite in its directory, or a database of its own in the PostgreSQL that `npm run test:postgres` has started, in which the tests of
 * the domain run once more.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqlite, SQLITE_FILE } from '../sqlite.ts';
import { openStore, type Store } from '../store.ts';

/** `{"createdb": [program, argument…], "url": "postgres://…/NAME?…"}` of that PostgreSQL. */
const VARIABLE = 'SKERRY_TEST_POSTGRES';

export const onPostgres: boolean = process.env[VARIABLE] !== undefined;
/** For `skip` of tests that look into files of SQLite. */
export const aboutSqlite: false | string = onPostgres && 'about files of SQLite';

/** The same store for the same directory. */
export function openTestStore(dataDir: string): Store {
  const text = process.env[VARIABLE];
  if (text === undefined) {
    giveSchema(dataDir);
    return openStore(dataDir);
  }
  const { createdb, url } = JSON.parse(text) as { createdb: [string, ...string[]]; url: string };
  const name = `t${createHash('sha256').update(dataDir).digest('hex').slice(0, 20)}`;
  const [program, ...args] = createdb;
  const { status, stderr } = spawnSync(program, [...args, name], { encoding: 'utf8' });
  if (status !== 0 && !stderr.includes('already exists')) throw new Error(stderr);
  return openStore(dataDir, url.replace('NAME', name));
}

/** A new database of this process, whose tests each would make the same tables one migration after the other. */
let empty: Buffer | undefined;

function giveSchema(dataDir: string): void {
  const path = join(dataDir, SQLITE_FILE);
  if (existsSync(path)) return;
  empty ??= makeEmpty();
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  writeFileSync(path, empty);
}

function makeEmpty(): Buffer {
  const directory = mkdtempSync(join(tmpdir(), 'skerry-schema-'));
  try {
    openSqlite(directory).close();
    return readFileSync(join(directory, SQLITE_FILE));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
