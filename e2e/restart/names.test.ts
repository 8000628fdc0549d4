/** Names are resolved in sandboxes while no server runs: a program that asks all the time sees no failure, whichever way the server goes and comes back. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { delay } from '../../server/src/platform/wait.ts';
import { type Driver, startDriver } from '../support/driver.ts';
import { type NameServer, startNameServer } from '../support/name-server.ts';
import { onceUnderRunc, runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';

/** Questions that must come through without a server before there is one again. */
const QUESTIONS = 30;
const PATIENCE_MS = patient(60_000);

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`names in a sandbox under ${runtime}`, { skip: skip || onceUnderRunc(runtime) }, () => {
    let names: NameServer;
    let server: TestServer;
    let driver: Driver;
    before(async () => {
      names = await startNameServer();
      server = await startServer({ runtime, flags: ['--nameservers', names.address] });
      driver = startDriver(server, 'e2e/restart/names.py');
      await driver.expect('resolving');
    });
    after(async () => {
      await driver?.[Symbol.asyncDispose]();
      await server?.stop();
      await names?.[Symbol.asyncDispose]();
    });

    const allResolved = async () => {
      driver.send('results');
      const { failed } = await driver.expect('results');
      assert.deepEqual(failed, []);
    };
    const askedMeanwhile = async () => {
      const before = names.asked;
      const deadline = performance.now() + PATIENCE_MS;
      while (names.asked < before + QUESTIONS) {
        assert.ok(performance.now() < deadline, `${names.asked - before} questions came through`);
        await delay(50);
      }
    };

    test('are resolved while the server is killed and stays down', async () => {
      await server.kill9();
      await askedMeanwhile();
      await server.restart();
      await allResolved();
    });

    test('are resolved while server and supervisor are stopped', async () => {
      await server.terminate();
      await askedMeanwhile();
      await server.restart();
      await allResolved();
    });

    test('are resolved while the server restarts', async () => {
      await server.restartGracefully();
      await allResolved();
      driver.send('finish');
      await driver.expect('done');
      await driver.end();
    });
  });
}
