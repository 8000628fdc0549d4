import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { SkerryError } from '../errors/skerry-error.ts';
import { transaction } from './database.ts';
import { openSqlite } from './sqlite.ts';

test('a transaction that SQLite rolled back by itself fails with the reason of that', (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-database-'));
  const database = openSqlite(dataDir);
  t.after(() => {
    database.close();
    rmSync(dataDir, { recursive: true });
  });
  database.exec('CREATE TABLE grows (data BLOB)');
  const pages = Number(database.prepare('PRAGMA page_count').get()?.page_count);
  database.exec(`PRAGMA max_page_count = ${pages}; PRAGMA cache_size = 4; PRAGMA cache_spill = 1`);
  const fill = () => {
    for (let i = 0; i < 100; i++) database.prepare('INSERT INTO grows VALUES (zeroblob(100000))').run();
  };
  assert.throws(() => transaction(database, fill), /database or disk is full/);
  assert.equal(database.isTransaction, false);
  transaction(database, () => {});
});

test('what a newer Skerry wrote is refused and left as it is', (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-database-'));
  t.after(() => rmSync(dataDir, { recursive: true }));
  const newer = openSqlite(dataDir);
  newer.exec('CREATE TABLE later (id TEXT) STRICT; PRAGMA user_version = 9999');
  newer.close();
  assert.throws(
    () => openSqlite(dataDir),
    (error) =>
      error instanceof SkerryError && /newer Skerry.*schema 9999.*skerry restore/.test(error.message),
  );
  const left = new DatabaseSync(join(dataDir, 'skerry.db'));
  t.after(() => left.close());
  assert.equal(left.prepare('PRAGMA user_version').get()?.user_version, 9999);
  assert.ok(left.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'later'").get());
});
