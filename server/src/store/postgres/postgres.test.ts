/** What PostgreSQL has and SQLite has not: a schema of its own, a connection that breaks, other servers, a data directory beside it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import type { SkerryError } from '../../errors/skerry-error.ts';
import { newLayerId, newSecretId, newTaskId } from '../../ids.ts';
import { copyDatabase, KEPT, LEFT_OUT } from '../backup.ts';
import { transaction } from '../database.ts';
import { migrations } from '../migrations.ts';
import { moveRecords } from '../move-records.ts';
import { openSqlite } from '../sqlite.ts';
import { openStore, type Store } from '../store.ts';
import { failsWith as fails, untilAnswering } from '../testing/failures.ts';
import { noPostgres, PASSWORD, TestPostgres } from '../testing/postgres.ts';
import { appId, environmentId, NOW_MS, sandboxRow } from '../testing/rows.ts';
import { openPostgres } from './open-postgres.ts';
import { withDollars } from './placeholders.ts';
import { PostgresDatabase } from './postgres-database.ts';

const failsWith = (code: SkerryError['code'], text: RegExp) => fails(code, text, PASSWORD);

const scratch = (t: TestContext) => {
  const directory = mkdtempSync(join(tmpdir(), 'skerry-postgres-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
};

test('places for values are counted as SQLite counts them, and texts and names have none', () => {
  assert.equal(
    withDollars(`SELECT '?', "a?", 'it''s ?' FROM t WHERE a = ? AND b = ?5 AND c = ? -- ?\n AND d = ?1`),
    `SELECT '?', "a?", 'it''s ?' FROM t WHERE a = $1 AND b = $5 AND c = $6 -- ?\n AND d = $1`,
  );
});

describe('PostgreSQL', { skip: noPostgres }, () => {
  let postgres: TestPostgres;
  let made = 0;
  before(async () => {
    postgres = await TestPostgres.start();
  });
  after(() => postgres?.stop());
  const newUrl = () => postgres.createDatabase(`d${++made}`);
  const open = (t: TestContext, url: string) => {
    const database = openPostgres({ url });
    t.after(() => database.close());
    return database;
  };

  test('has the tables, columns and indexes of SQLite', (t) => {
    const sqlite = openSqlite(scratch(t));
    t.after(() => sqlite.close());
    const database = open(t, newUrl());
    const types = { TEXT: 'text', INTEGER: 'bigint', BLOB: 'bytea' };
    const columns = sqlite
      .prepare(
        `SELECT schema.name AS "table", info.name, info.type, info."notnull" OR info.pk > 0 AS needed FROM sqlite_schema AS schema, pragma_table_xinfo(schema.name) AS info
         WHERE schema.type = 'table' AND schema.name NOT LIKE 'sqlite%' ORDER BY 1, 2`,
      )
      .all()
      .map((row) => ({ ...row, type: types[row.type as keyof typeof types] }));
    const theirs = database
      .prepare(
        `SELECT table_name AS "table", column_name AS name, data_type AS type, CASE is_nullable WHEN 'NO' THEN 1 ELSE 0 END AS needed FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name <> 'schema_version' AND column_name <> 'rowid' ORDER BY table_name COLLATE "C", column_name COLLATE "C"`,
      )
      .all();
    assert.deepEqual(theirs, columns);
    const texts = database
      .prepare(
        `SELECT table_name, column_name FROM information_schema.columns
         WHERE table_schema = 'public' AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'`,
      )
      .all();
    assert.deepEqual(texts, []);
    const named = (sql: string, from: typeof database | typeof sqlite) =>
      from
        .prepare(sql)
        .all()
        .map(({ name }) => name);
    assert.deepEqual(
      named(
        `SELECT indexname AS name FROM pg_indexes WHERE schemaname = 'public'
           AND indexname NOT IN (SELECT conname FROM pg_constraint) ORDER BY indexname COLLATE "C"`,
        database,
      ),
      named(`SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name`, sqlite),
    );
    assert.deepEqual(
      named(
        `SELECT DISTINCT tgname AS name, tgname COLLATE "C" FROM pg_trigger WHERE NOT tgisinternal ORDER BY 2`,
        database,
      ),
      named(`SELECT name FROM sqlite_schema WHERE type = 'trigger' ORDER BY name`, sqlite),
    );
    assert.equal(database.prepare('SELECT version FROM schema_version').get()?.version, migrations.length);
  });

  test('that a newer Skerry used is refused and left as it is', (t) => {
    const url = newUrl();
    const newer = openPostgres({ url });
    newer.exec('CREATE TABLE later (id TEXT); UPDATE schema_version SET version = 9999');
    newer.close();
    assert.throws(() => openPostgres({ url }), failsWith('conflict', /newer Skerry.*schema 9999/));
    const left = openPostgres({ url: postgres.url('postgres') });
    t.after(() => left.close());
    // By another way in than the one that refuses.
    assert.ok(left.prepare('SELECT 1 FROM pg_database WHERE datname = ?').get(`d${made}`));
  });

  test('serves one server at a time', (t) => {
    const url = newUrl();
    const first = openPostgres({ url });
    assert.throws(
      () => openPostgres({ url }),
      failsWith('conflict', /Another Skerry server works on the database/),
    );
    first.close();
    open(t, url);
  });

  test('is free for the next server when one is killed', async (t) => {
    const url = newUrl();
    const code = `import { openPostgres } from ${JSON.stringify(new URL('open-postgres.ts', import.meta.url).href)};
      globalThis.database = openPostgres({ url: process.env.URL }); process.stdout.write('open'); setInterval(() => {}, 1000)`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
      ...{ env: { ...process.env, URL: url }, stdio: ['ignore', 'pipe', 'inherit'] },
    });
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    open(t, url);
  });

  test('that is not there, or lets nobody in, is told without the password', () => {
    const nowhere = `postgres://skerry:${PASSWORD}@127.0.0.1:1/records`;
    assert.throws(
      () => openPostgres({ url: nowhere }),
      failsWith('unavailable', /127\.0\.0\.1:1\/records does not answer/),
    );
    const wrong = newUrl().replace(PASSWORD, `${PASSWORD}-not`);
    assert.throws(
      () => openPostgres({ url: wrong }),
      failsWith('unavailable', /password authentication failed/),
    );
  });

  test('takes the password from the environment too', (t) => {
    const url = newUrl().replace(`:${PASSWORD}`, '');
    assert.throws(() => openPostgres({ url }), failsWith('unavailable', /password/));
    process.env.PGPASSWORD = PASSWORD;
    t.after(() => delete process.env.PGPASSWORD);
    open(t, url);
  });

  test('that was away is connected to again, and no transaction goes on on another connection', async (t) => {
    const database = open(t, newUrl());
    const insert = database.prepare('INSERT INTO settings (key, value) VALUES (?, ?)');
    insert.run('a', '1');
    assert.throws(() => transaction(database, () => insert.run('a', '2')), /unique/);
    transaction(database, () => {});
    database.begin();
    insert.run('b', '1');
    await postgres.kill();
    assert.throws(() => insert.run('c', '1'), failsWith('unavailable', /does not answer/));
    await postgres.resume();
    assert.throws(() => insert.run('d', '1'), failsWith('unavailable', /middle of a transaction/));
    database.rollback();
    assert.equal(database.isTransaction, false);
    await untilAnswering(() => insert.run('e', '1'));
    assert.deepEqual(
      database
        .prepare('SELECT key FROM settings ORDER BY key')
        .all()
        .map(({ key }) => key),
      ['a', 'e'],
    );
  });

  test('has as long to answer as it may, and what it is late with is ended', (t) => {
    const url = newUrl();
    openPostgres({ url }).close();
    const database = new PostgresDatabase({ url }, { answerTimeoutMs: 1_000 });
    t.after(() => database.close());
    database.exec("SET statement_timeout = '50ms'");
    assert.throws(() => database.exec('SELECT pg_sleep(60)'), /statement timeout/);
    database.exec('SET statement_timeout = 0');
    assert.throws(
      () => database.exec('SELECT pg_sleep(60)'),
      failsWith('unavailable', /no answer within 1 s/),
    );
    // That one has the lock, and would have it for a minute.
    assert.equal(database.prepare('SELECT 1 AS one').get()?.one, 1);
  });

  test('keeps a text with NUL, which it has no place for, all but that', (t) => {
    const database = open(t, newUrl());
    database.prepare('INSERT INTO settings (key, value) VALUES (?, ?)').run('k', 'a\0b');
    assert.equal(database.prepare('SELECT value FROM settings').get()?.value, 'a\ufffdb');
  });

  test('a data directory and its database are used together alone', (t) => {
    const [url, other] = [newUrl(), newUrl()];
    const [one, two] = [scratch(t), scratch(t)];
    openStore(one, url).close();
    openStore(one, url).close();
    assert.throws(() => openStore(two, url), failsWith('conflict', /belongs to another data directory/));
    assert.throws(() => openStore(one, other), failsWith('conflict', /knows nothing of/));
    assert.throws(() => openStore(one), failsWith('conflict', /are in PostgreSQL: say where/));
    openStore(two).close();
    assert.throws(() => openStore(two, other), failsWith('conflict', /keeps its records in skerry.db/));
    const begun = scratch(t);
    writeFileSync(join(begun, 'database.json'), JSON.stringify({ id: 'x', state: 'begun' }));
    openStore(begun, other).close();
    openStore(begun, other).close();
  });

  test('is copied as it is at one moment into a file of SQLite, but for sandboxes', async (t) => {
    const [from, to] = [scratch(t), scratch(t)];
    const store = openStore(from, newUrl());
    t.after(() => store.close());
    store.environments.insert(environmentId, 'main', '2025.06', NOW_MS);
    const secret = { id: newSecretId(), environmentId, name: 's', keys: ['K'], expiresAtMs: NOW_MS + 5 };
    const ciphertext = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    store.secrets.insert({ ...secret, ciphertext }, NOW_MS);
    const layers = Array.from({ length: 2500 }, () => newLayerId());
    transaction(store.database, () => {
      for (const layer of layers) store.images.insertLayer(layer, 2 ** 40, NOW_MS);
    });
    store.sandboxes.insert(sandboxRow());
    store.settings.set('boot-id', 'x');
    const file = join(to, 'skerry.db');
    writeFileSync(file, 'of an earlier round');
    const copied = await copyDatabase(store.database, file);
    assert.deepEqual([copied.schema, new Set(copied.imageLayers)], [migrations.length, new Set(layers)]);
    const copy = openStore(to);
    t.after(() => copy.close());
    assert.deepEqual([...(copy.secrets.byId(secret.id)?.ciphertext ?? [])], [...ciphertext]);
    assert.deepEqual(copy.secrets.byId(secret.id)?.expiresAtMs, NOW_MS + 5);
    assert.equal(copy.environments.byId(environmentId)?.name, 'main');
    assert.equal(copy.images.getLayer(layers[0] as (typeof layers)[number])?.bytes, 2 ** 40);
    assert.deepEqual(copy.sandboxes.live(), []);
    assert.deepEqual(
      [copy.settings.get('boot-id'), copy.settings.get('data-directory')],
      [undefined, undefined],
    );
  });

  /** A data directory with records of its own, something in most tables. */
  const withRecords = (t: TestContext) => {
    const dataDir = scratch(t);
    const { database, ...store } = openStore(dataDir);
    store.environments.insert(environmentId, 'main', '2025.06', NOW_MS);
    store.apps.insert(
      { ...{ id: appId, environmentId, name: 'a', description: '' }, state: 'deployed', tags: {} },
      NOW_MS,
    );
    store.settings.set('boot-id', 'x');
    const rows = Array.from({ length: 700 }, () => sandboxRow({ tags: { a: 'b\u2028' } }));
    for (const row of rows) store.sandboxes.insert(row);
    const sidecarOf = { sandboxId: rows[0]?.id, name: 's' };
    store.sandboxes.insert(sandboxRow({ sidecarOf } as never)); // the part that has columns
    for (const text of ['c', 'a', 'b']) {
      store.webhookMessages.add('r', { id: text, type: 't', body: text, createdAtMs: NOW_MS } as never);
      store.sandboxes.addEvent(newTaskId(), { timeMs: NOW_MS, kind: 'life', text });
    }
    store.answers.put(
      'k',
      'M',
      Uint8Array.from({ length: 256 }, (_, byte) => byte),
      NOW_MS,
    );
    database.close();
    return dataDir;
  };
  const contents = ({ database }: Store) =>
    Object.fromEntries(
      [...KEPT, ...LEFT_OUT].map((table) => [
        table,
        database
          .prepare(`SELECT * FROM ${table}`)
          .all()
          .map(({ rowid: _, seq: __, ...row }) => JSON.stringify(Object.entries(row).sort()))
          .filter((row) => !row.includes('data-directory'))
          .sort(),
      ]),
    );

  test('takes over all records of a data directory, in their order', (t) => {
    const dataDir = withRecords(t);
    const before = openStore(dataDir);
    const expected = contents(before);
    before.close();
    const url = newUrl();
    const count = Object.values(expected).reduce((sum, rows) => sum + rows.length, 0);
    assert.equal(moveRecords(dataDir, { url }), count);
    assert.deepEqual(readdirSync(dataDir).sort(), ['database.json', 'skerry.db.moved']);
    const store = openStore(dataDir, url);
    t.after(() => store.close());
    assert.deepEqual(contents(store), expected);
    assert.deepEqual(
      store.webhookMessages.list('r').map(({ body }) => body),
      ['c', 'a', 'b'],
    );
    // Both go on counting.
    store.webhookMessages.add('r', { id: 'd', type: 't', body: 'd', createdAtMs: NOW_MS } as never);
    assert.equal(store.webhookMessages.list('r').at(-1)?.body, 'd');
    assert.throws(
      () => moveRecords(dataDir, { url }),
      failsWith('invalid-argument', /There is no skerry.db/),
    );
  });

  test('that has records takes no others, and the data directory is as it was', (t) => {
    const url = newUrl();
    openStore(scratch(t), url).close();
    const dataDir = withRecords(t);
    assert.throws(() => moveRecords(dataDir, { url }), failsWith('conflict', /has records already/));
    const left = openStore(dataDir);
    t.after(() => left.close());
    assert.equal(left.sandboxes.live().length, 701);
  });

  test('a move that was killed before its end is done again, and nothing is used in between', (t) => {
    for (const committed of [false, true]) {
      const [dataDir, url] = [withRecords(t), newUrl()];
      const kept = join(scratch(t), 'kept');
      copyFileSync(join(dataDir, 'skerry.db'), kept);
      if (committed) moveRecords(dataDir, { url });
      const { id = 'x' } = committed ? JSON.parse(readFileSync(join(dataDir, 'database.json'), 'utf8')) : {};
      copyFileSync(kept, join(dataDir, 'skerry.db'));
      writeFileSync(join(dataDir, 'database.json'), JSON.stringify({ id, state: 'begun' }));
      assert.throws(() => openStore(dataDir), failsWith('conflict', /are in PostgreSQL/));
      assert.throws(() => openStore(dataDir, url), failsWith('conflict', /skerry move-records/));
      moveRecords(dataDir, { url });
      const store = openStore(dataDir, url);
      t.after(() => store.close());
      assert.equal(store.sandboxes.live().length, 701);
    }
  });
});
