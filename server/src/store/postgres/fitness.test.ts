/** Databases that answer and in which no records can be kept. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { copyDatabase } from '../backup.ts';
import { failsWith, untilAnswering } from '../testing/failures.ts';
import { noPgBouncer, TestPgBouncer } from '../testing/pgbouncer.ts';
import { noPostgres, PASSWORD, TestPostgres } from '../testing/postgres.ts';
import { SocketProxy } from '../testing/socket-proxy.ts';
import { connectTo } from './connection.ts';
import { checkFit, OLDEST_VERSION } from './fitness.ts';
import { openPostgres } from './open-postgres.ts';

describe('a PostgreSQL', { skip: noPostgres }, () => {
  let postgres: TestPostgres;
  before(async () => {
    postgres = await TestPostgres.start();
  });
  after(() => postgres?.stop());

  test('before the oldest version that will do is refused', async (t) => {
    const fit = async (url: string) => {
      const client = await connectTo({ url }, 'test');
      t.after(() => client.end());
      return { client, version: await checkFit(client, { url }) };
    };
    const { client, version } = await fit(postgres.url('postgres'));
    assert.match(version, /^\d+\.\d+/);
    const { number } = (await client.query("SELECT current_setting('server_version_num') AS number")).rows[0];
    const saying = (claimed: string) =>
      SocketProxy.start(postgres, (said, pass) =>
        pass(Buffer.from(said.toString('latin1').replaceAll(number, claimed), 'latin1')),
      );
    const [old, oldest] = [await saying(`${OLDEST_VERSION - 1}9999`), await saying(`${OLDEST_VERSION}0000`)];
    t.after(() => [old, oldest].map((proxy) => proxy.stop()));
    await fit(postgres.url('postgres', oldest.directory));
    await assert.rejects(
      fit(postgres.url('postgres', old.directory)),
      /it is PostgreSQL .*, and Skerry needs 13 or a newer one/,
    );
  });

  describe('behind PgBouncer', { skip: noPgBouncer }, () => {
    let made = 0;
    const behind = async (t: TestContext, settings: Record<string, string | number>) => {
      const pgbouncer = await TestPgBouncer.start(postgres, settings);
      t.after(() => pgbouncer.stop());
      const name = `d${++made}`;
      postgres.createDatabase(name);
      return pgbouncer.url(name);
    };

    test('by session is one as any other', async (t) => {
      const url = await behind(t, { pool_mode: 'session' });
      const database = openPostgres({ url });
      const insert = database.prepare('INSERT INTO settings (key, value) VALUES (?, ?)');
      insert.run('a', '1');
      assert.throws(() => insert.run('a', '2'), /unique/);
      assert.throws(() => openPostgres({ url }), failsWith('conflict', /Another Skerry server/, PASSWORD));
      const copy = mkdtempSync(join(tmpdir(), 'skerry-copy-'));
      t.after(() => rmSync(copy, { recursive: true, force: true }));
      await copyDatabase(database, join(copy, 'skerry.db'));
      database.close();
      const next = openPostgres({ url });
      assert.equal(next.prepare('SELECT value FROM settings').get()?.value, '1');
      next.close();
    });

    test('by session is connected to again when it was away', async (t) => {
      const url = await behind(t, { pool_mode: 'session', server_login_retry: 1 });
      const database = openPostgres({ url });
      t.after(() => database.close());
      const insert = database.prepare('INSERT INTO settings (key, value) VALUES (?, ?)');
      await postgres.kill();
      // Not that the thread with the connection is stuck, for which the server would stand still much longer.
      assert.throws(
        () => insert.run('a', '1'),
        failsWith('unavailable', /does not answer: (?!the thread)/, PASSWORD),
      );
      await postgres.resume();
      await untilAnswering(() => insert.run('a', '1'));
    });

    test('with one connection alone serves a server, which has that', async (t) => {
      const url = await behind(t, { pool_mode: 'session', default_pool_size: 1 });
      openPostgres({ url }).close();
    });

    for (const settings of [
      { pool_mode: 'transaction' },
      { pool_mode: 'transaction', default_pool_size: 1 },
      { pool_mode: 'transaction', server_round_robin: 1 },
      { pool_mode: 'statement' },
    ])
      test(`with ${JSON.stringify(settings)} is refused`, async (t) => {
        const url = await behind(t, settings);
        assert.throws(
          () => openPostgres({ url }),
          failsWith('unavailable', /set pool_mode = session for this database in PgBouncer/, PASSWORD),
        );
      });
  });
});
