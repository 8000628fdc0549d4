import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { noPostgres, TestPostgres } from '../testing/postgres.ts';
import { leaderAsText } from './leader.ts';
import { Leadership } from './leadership.ts';
import { openPostgres } from './open-postgres.ts';

const SOCKET = '.s.PGSQL.5432';

describe('who leads', { skip: noPostgres }, () => {
  let postgres: TestPostgres;
  before(async () => {
    postgres = await TestPostgres.start();
  });
  after(() => postgres.stop());
  const never = new AbortController().signal;

  test('one at a time, each after the one before, whoever waits for longest first', async () => {
    const url = postgres.createDatabase('turns');
    const leadership = new Leadership({ url });
    const first = await leadership.tryTurn();
    assert.ok(first);
    assert.equal(await leadership.tryTurn(), undefined, 'two have the turn');
    const leader = openPostgres({ url });
    await first.end();
    assert.equal(await leadership.tryTurn(), undefined, 'one leads already');

    const order: string[] = [];
    const second = leadership.turn(never);
    void second.then(() => order.push('second'));
    await waiting(url, 1);
    const third = leadership.turn(never);
    void third.then(() => order.push('third'));
    await waiting(url, 2);
    assert.deepEqual(order, []);
    leader.close();
    const turn = await second;
    const next = openPostgres({ url }); // has the lock, though somebody waits
    await turn.end();
    await waiting(url, 1);
    assert.deepEqual(order, ['second']);
    next.close();
    await (await third).end();
    assert.deepEqual(order, ['second', 'third']);
  });

  test('who waits can leave, and goes on waiting when the database was away', async () => {
    const url = postgres.createDatabase('away');
    const leadership = new Leadership({ url });
    const leader = openPostgres({ url });
    const leaving = new AbortController();
    const left = leadership.turn(leaving.signal);
    await waiting(url, 1);
    leaving.abort(new Error('it leaves'));
    await assert.rejects(left, /it leaves/);
    const patient = leadership.turn(never);
    await waiting(url, 2); // the database notices that the first has left when it is to have the lock
    await postgres.kill();
    await postgres.resume();
    leader.close();
    await (await patient).end();
  });

  test('who waits goes on also when its connection broke and nobody told it', async (t) => {
    const url = postgres.createDatabase('silent');
    const leader = openPostgres({ url });
    const directory = mkdtempSync(join(tmpdir(), 'skerry-silent-'));
    const sockets: Socket[] = [];
    const silent = createServer((client) => {
      const database = connect(join(postgres.directory, SOCKET));
      sockets.push(client, database);
      for (const each of [client, database]) each.on('error', () => {});
      client.pipe(database);
      database.on('data', (said) => client.write(said)); // and no word of its end
    });
    t.after(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
      rmSync(directory, { recursive: true, force: true });
    });
    silent.listen(join(directory, SOCKET));
    await once(silent, 'listening');
    const through = url.replace(/host=.*$/, `host=${encodeURIComponent(directory)}`);
    const leadership = new Leadership({ url: through }, { lookMs: 10 });
    const turn = leadership.turn(never);
    await waiting(url, 1);
    await endWaiting(url);
    await waiting(url, 1);
    leader.close();
    await (await turn).end();
    leadership.close();
  });

  test('where it listens', async () => {
    const url = postgres.createDatabase('where');
    const leadership = new Leadership({ url });
    assert.equal(await leadership.leader(), undefined, 'nobody has been here');
    const database = openPostgres({ url });
    const leader = { host: 'a', port: 1, fingerprint: 'sha256:0' };
    database.prepare("INSERT INTO settings VALUES ('leader', ?)").run(leaderAsText(leader));
    assert.deepEqual(await leadership.leader(), leader);
    await postgres.kill();
    await assert.rejects(leadership.leader());
    await postgres.resume();
    assert.deepEqual(await leadership.leader(), leader);
    leadership.close();
    database.close();
  });
});

/** Ends the one that waits for a lock of the database. */
async function endWaiting(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rowCount } = await client.query(
    `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  );
  await client.end();
  assert.equal(rowCount, 1);
}

/** Until so many wait for their turn, or for the end of who leads. */
async function waiting(url: string, count: number): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const locks = `SELECT count(*)::int AS count FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
  try {
    while ((await client.query(locks)).rows[0].count !== count);
  } finally {
    await client.end();
  }
}
