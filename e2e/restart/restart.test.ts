/**
 * The server is killed, and ended gracefully, while an official client works in sandboxes: nothing is lost, repeated or done twice. `npm run test:crash` does it a hundred times
 * under each runtime.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { delay } from '../../server/src/platform/wait.ts';
import { type Driver, startDriver } from '../support/driver.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { isSlow } from '../support/slowness.ts';

/** Longest time into a cycle's work at which the server goes; the work takes about 2 s. */
const LATEST_MOMENT_MS = 2_000;
const asked = Number(process.env.SKERRY_TEST_KILLS) || undefined;
/** Kills and graceful ends take turns. An emulated machine takes minutes for each, and has one of each kind done. */
const CYCLES = isSlow ? { runc: 2, gvisor: 2 } : { runc: asked ?? 8, gvisor: asked ?? 4 };
/** Client programs see as many. How many there are is the server's matter and not the runtime's, and each of gVisor's has a kernel to start. */
const SANDBOXES = isSlow ? { runc: 5, gvisor: 5 } : { runc: 20, gvisor: 5 };

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`a restart of the server under ${runtime}`, { skip }, () => {
    let server: TestServer;
    let driver: Driver;
    before(async () => {
      server = await startServer({ runtime });
      driver = startDriver(server, 'e2e/restart/driver.py', String(SANDBOXES[runtime]));
      await driver.expect('ready');
    });
    after(async () => {
      await driver?.[Symbol.asyncDispose]();
      await server?.stop();
    });

    for (let cycle = 1; cycle <= CYCLES[runtime]; cycle++) {
      const how = cycle % 2 === 1 ? 'killed' : 'ended gracefully';
      // The moment is in the name: a failure can be tried again at the same one.
      const momentMs = randomInt(LATEST_MOMENT_MS);
      test(`${cycle}: ${how} ${momentMs} ms into the work`, async () => {
        driver.send(`cycle ${cycle}`);
        await driver.expect('working');
        await delay(momentMs);
        if (how === 'killed') {
          await server.kill9();
          await server.restart();
        } else {
          await server.restartGracefully();
        }
        await driver.expect('done');
      });
    }

    test('what ends while the server is down has its right result', async () => {
      driver.send('before-downtime');
      const { seconds } = await driver.expect('sandboxes');
      await driver.expect('go');
      await server.kill9();
      // The timeout of one sandbox passes, the entrypoint of the other ends. An emulated machine takes longer than that to start a server, and clients give
      // up when none answers for much longer.
      if (!isSlow) await delay(Number(seconds) * 1000);
      await server.restart();
      await driver.expect('done');
    });

    test('every sandbox, name and tag is still there, and each exec ran once', async () => {
      driver.send('finish');
      await driver.expect('done');
      await driver.end();
      assert.deepEqual(server.errors(), []);
    });
  });
}
