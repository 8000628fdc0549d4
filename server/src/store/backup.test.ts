import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { KEPT, LEFT_OUT } from './backup.ts';
import { openSqlite } from './sqlite.ts';

test('of every table somebody decided whether it is in a backup', (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-backup-'));
  const database = openSqlite(dataDir);
  t.after(() => {
    database.close();
    rmSync(dataDir, { recursive: true });
  });
  const tables = database
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    .all()
    .map(({ name }) => name);
  assert.deepEqual([...LEFT_OUT, ...KEPT].sort(), tables);
});
