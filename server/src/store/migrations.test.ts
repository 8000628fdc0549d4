import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { migrations } from './migrations.ts';
import { openSqlite } from './sqlite.ts';

test('what a version ran that did not tell instances from tasks is found under the id it has on the machine', (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-migrations-'));
  t.after(() => rmSync(dataDir, { recursive: true }));
  const before = new DatabaseSync(join(dataDir, 'skerry.db'));
  for (const sql of migrations.slice(0, 7)) before.exec(sql);
  before.exec('PRAGMA user_version = 7');
  const insert = before.prepare(
    "INSERT INTO sandboxes (id, task_id, app_id, environment_id, image_id, state, spec, created_at_ms) VALUES (?, ?, 'ap', 'en', 'im', ?, '{}', ?)",
  );
  const states = ['created', 'starting', 'running', 'stopping', 'ended'];
  for (const [index, state] of states.entries()) insert.run(`sb-${index}`, `ta-${state}`, state, index);
  before.close();
  const database = openSqlite(dataDir);
  t.after(() => database.close());
  const rows = database.prepare('SELECT instance_id FROM sandboxes ORDER BY created_at_ms').all();
  assert.deepEqual(
    rows.map((row) => row.instance_id),
    [null, 'ta-starting', 'ta-running', 'ta-stopping', null],
  );
});

test('an image that named no signal to stop with names none, and the signal of another stays', (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-migrations-'));
  t.after(() => rmSync(dataDir, { recursive: true }));
  const before = new DatabaseSync(join(dataDir, 'skerry.db'));
  for (const sql of migrations.slice(0, 24)) before.exec(sql);
  before.exec('PRAGMA user_version = 24');
  const insert = before.prepare(
    "INSERT INTO images (id, state, config, created_at_ms) VALUES (?, 'ready', ?, 0)",
  );
  insert.run('im-1', JSON.stringify({ user: 'a', stopSignal: 'SIGTERM' }));
  insert.run('im-2', JSON.stringify({ user: 'b', stopSignal: 'SIGQUIT' }));
  before.close();
  const database = openSqlite(dataDir);
  t.after(() => database.close());
  const rows = database.prepare('SELECT config FROM images ORDER BY id').all();
  assert.deepEqual(
    rows.map(({ config }) => JSON.parse(String(config))),
    [{ user: 'a' }, { user: 'b', stopSignal: 'SIGQUIT' }],
  );
});
