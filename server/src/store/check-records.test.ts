import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { checkRecords } from './check-records.ts';
import { openPostgres } from './postgres/open-postgres.ts';
import { noPgBouncer, TestPgBouncer } from './testing/pgbouncer.ts';
import { noPostgres, PASSWORD, TestPostgres } from './testing/postgres.ts';
import { SocketProxy } from './testing/socket-proxy.ts';

/** More than is said to be slow. */
const LATE_MS = 5;

const check = async (databaseUrl: string) => {
  const found = await checkRecords({ dataDir: '/data', databaseUrl, databasePasswordFile: '' });
  assert.ok(!JSON.stringify(found).includes(PASSWORD));
  return found;
};

test('records in SQLite are in a file', async () => {
  const { ok, database, place } = await check('');
  assert.deepEqual([ok, database, place], [true, 'SQLite', '/data/skerry.db']);
});

test('a URL that is none is told, as is a database that is away', async () => {
  const wrong = await check(`postgres://skerry:${PASSWORD}@db/x?sslmod=require`);
  assert.deepEqual([wrong.ok, wrong.required], [false, true]);
  assert.match(wrong.found, /a parameter sslmod/);
  const away = await check(`postgres://skerry:${PASSWORD}@127.0.0.1:1/x`);
  assert.deepEqual([away.ok, away.required, away.place], [false, true, '127.0.0.1:1/x']);
  assert.match(away.found, /127\.0\.0\.1:1\/x does not answer: /);
  assert.match(away.remedy, /^Start it/);
});

test('records that are elsewhere than the settings say are told', async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-records-'));
  t.after(() => rmSync(dataDir, { recursive: true, force: true }));
  const found = (databaseUrl: string) => checkRecords({ dataDir, databaseUrl, databasePasswordFile: '' });
  writeFileSync(join(dataDir, 'database.json'), JSON.stringify({ id: 'x', state: 'complete' }));
  assert.match((await found('')).found, /are in PostgreSQL: say where/);
  rmSync(join(dataDir, 'database.json'));
  writeFileSync(join(dataDir, 'skerry.db'), '');
  const { ok, found: text } = await found('postgres://db/x');
  assert.ok(!ok);
  assert.match(text, /keeps its records in skerry\.db/);
});

describe('records in PostgreSQL', { skip: noPostgres }, () => {
  let postgres: TestPostgres;
  before(async () => {
    postgres = await TestPostgres.start();
  });
  after(() => postgres?.stop());

  test('are told with version and time, also while a server has the lock', async (t) => {
    const url = postgres.createDatabase('used');
    const server = openPostgres({ url });
    t.after(() => server.close());
    const { database, version = '', place, found, roundTripMs = 0 } = await check(url);
    assert.deepEqual([database, place], ['PostgreSQL', `${postgres.directory}:5432/used`]);
    assert.ok(version !== '' && found.startsWith(`PostgreSQL ${version} at ${place}, `));
    assert.ok(roundTripMs > 0);
  });

  test('that answer slowly hinder, and are told so', async (t: TestContext) => {
    const proxy = await SocketProxy.start(postgres, async (said, pass) => {
      await delay(LATE_MS);
      pass(said);
    });
    t.after(() => proxy.stop());
    const { ok, required, roundTripMs = 0, remedy } = await check(postgres.url('postgres', proxy.directory));
    assert.deepEqual([ok, required], [false, false]);
    assert.ok(roundTripMs >= LATE_MS - 1, `${roundTripMs} ms`); // timers may be early by less
    assert.match(remedy, /^That is slow: the server waits for each statement/);
  });

  test('that cannot be kept are told with what to mend', { skip: noPgBouncer }, async (t) => {
    const wrong = await check(postgres.url('postgres').replace(PASSWORD, `${PASSWORD}-not`));
    assert.deepEqual([wrong.ok, wrong.required], [false, true]);
    assert.match(wrong.found, /cannot be used: password authentication failed/);
    assert.match(wrong.remedy, /^Mend that/);
    const pgbouncer = await TestPgBouncer.start(postgres, { pool_mode: 'transaction' });
    t.after(() => pgbouncer.stop());
    assert.match((await check(pgbouncer.url('postgres'))).found, /set pool_mode = session/);
  });
});
