import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDatabase, transaction } from './database.ts';

test('a transaction that SQLite rolled back by itself fails with the reason of that', (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-database-'));
  const database = openDatabase(dataDir);
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
