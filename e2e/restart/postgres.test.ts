/** A server with its records in PostgreSQL, through the official client: all is there when the server was killed, and what runs goes on while the database is away. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '../../server/src/platform/command.ts';
import { nodeFlags } from '../../server/src/platform/node-flags.ts';
import { noPostgres, PASSWORD, TestPostgres } from '../../server/src/store/testing/postgres.ts';
import { startDriver } from '../support/driver.ts';
import { projectRoot, startServer, type TestServer } from '../support/server.ts';

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
    await driver.expect('without');
    const ready = await fetch(`${server.url}/readyz`);
    assert.equal(ready.status, 503);
    assert.match(await ready.text(), /"reasons":\["no-database"\]/);
    await postgres.resume();
    await driver.expect('done');
    await driver.end();
  });

  test('says what copies its records instead of skerry backup, and tells nobody the password', async () => {
    const skerry = join(projectRoot, 'cli/src/main.ts');
    const backup = [skerry, 'backup', join(server.dataDir, 'copy'), '--data-dir', server.dataDir];
    await assert.rejects(run([process.execPath, ...nodeFlags, ...backup]), /pg_dump|No server/);
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
