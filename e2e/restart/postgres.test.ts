/** A server with its records in PostgreSQL, through the official client: all is there when the server was killed, and what runs goes on while the database is away. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '../../server/src/platform/command.ts';
import { nodeFlags } from '../../server/src/platform/node-flags.ts';
import { delay } from '../../server/src/platform/wait.ts';
import { noPostgres, PASSWORD, TestPostgres } from '../../server/src/store/testing/postgres.ts';
import { startDriver } from '../support/driver.ts';
import { projectRoot, startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';

const PATIENCE_MS = patient(30_000);

describe('a server with its records in PostgreSQL', { skip: noPostgres }, () => {
  let postgres: TestPostgres;
  let server: TestServer;

  before(async () => {
    postgres = await TestPostgres.start();
    const url = postgres.createDatabase('skerry');
    server = await startServer({ freshData: true, env: { SKERRY_DATABASE_URL: url } });
  });
  after(async () => {
    await server?.stop(); // asserts that nothing is left on the machine
    await postgres?.stop();
  });

  const untilReady = async () => {
    const deadline = performance.now() + PATIENCE_MS;
    while (!(await fetch(`${server.url}/readyz`)).ok) {
      assert.ok(performance.now() < deadline, 'the server is not ready');
      await delay(50);
    }
  };

  test('loses nothing when it is killed, and goes on while the database is away', async () => {
    await using driver = startDriver(server, 'e2e/restart/postgres.py');
    await driver.expect('ready');
    await server.kill9();
    await server.restart();
    driver.send('server was killed');
    await driver.expect('survived');
    assert.deepEqual(server.errors(), []);
    await postgres.kill();
    driver.send('database was killed');
    const { refused } = await driver.expect('without');
    assert.match(String(refused), /^The database at .* does not answer/);
    assert.doesNotMatch(String(refused), new RegExp(PASSWORD));
    const ready = await fetch(`${server.url}/readyz`);
    assert.equal(ready.status, 503);
    assert.match(await ready.text(), /"reasons":\["no-database"\]/);
    await postgres.resume();
    await untilReady();
    driver.send('database is back');
    await driver.expect('done');
    await driver.end();
  });

  test('tells nobody the password', () => {
    assert.doesNotMatch(server.log(), new RegExp(PASSWORD));
    assert.doesNotMatch(readFileSync(`/proc/${server.pid}/cmdline`, 'utf8'), new RegExp(PASSWORD));
  });

  test('is not started on that directory without its database', async () => {
    const main = join(projectRoot, 'server/src/main.ts');
    await server.terminate();
    const alone = run([process.execPath, ...nodeFlags, main, '--data-dir', server.dataDir, '--port', '0']);
    await assert.rejects(alone, /are in PostgreSQL: say where/);
    await server.restart();
  });
});
