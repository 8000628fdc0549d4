import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openSqlite } from '../server/src/store/sqlite.ts';
import { logLength } from './sqlite-log.ts';

test('transactions and bytes are counted as SQLite writes them, and a log that begins anew is told', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sqlite-log-'));
  try {
    const database = openSqlite(directory);
    const log = () => logLength(join(directory, 'skerry.db-wal'));
    const begun = log();
    for (let each = 0; each < 3; each++)
      database.exec(`INSERT INTO settings (key, value) VALUES ('number-${each}', 'x')`);
    const then = log();
    assert.deepEqual([then.salt, then.transactions - begun.transactions], [begun.salt, 3]);
    assert.ok(then.bytes > begun.bytes && then.bytes % (4096 + 24) === 0, `${then.bytes}`);
    database.exec('PRAGMA wal_checkpoint(RESTART)');
    database.exec("DELETE FROM settings WHERE key = 'number-1'");
    assert.notEqual(log().salt, begun.salt);
    assert.equal(log().transactions, 1);
    database.close();
  } finally {
    rmSync(directory, { recursive: true });
  }
});
