/**
 * The server is killed at random moments while clients upload, commit, reload, take snapshots and remove: what is found afterwards is the state before or the one
 * after, never a mix, and what was answered is there. `npm run test:crash` does it 200 times and keeps a record.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { delay } from '../../server/src/platform/wait.ts';
import { type Driver, startDriver } from '../support/driver.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';

const KILLS = Number(process.env.SKERRY_TEST_KILLS) || 4;
/** Longest time into a round at which the server is killed; one takes about as long. */
const LATEST_MOMENT_MS = patient(3_000);
/** A line for each kill, where this is set: what was under way. */
const record = process.env.SKERRY_TEST_RECORD;

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`storage and a server that is killed under ${runtime}`, { skip }, () => {
    let server: TestServer;
    let driver: Driver;
    before(async () => {
      server = await startServer({ runtime });
      driver = startDriver(server, 'e2e/crash/driver.py');
      await driver.expect('ready');
    });
    after(async () => {
      await driver?.[Symbol.asyncDispose]();
      await server?.stop();
    });

    for (let round = 1; round <= KILLS; round++) {
      const momentMs = randomInt(LATEST_MOMENT_MS);
      test(`${round}: killed ${momentMs} ms into the round`, async () => {
        driver.send(`round ${round}`);
        await driver.expect('working');
        await delay(momentMs);
        driver.send('killed');
        await server.kill9();
        await server.restart();
        const { underway } = await driver.expect('done');
        if (record) appendFileSync(record, `${JSON.stringify({ runtime, momentMs, underway })}\n`);
      });
    }

    test('at the end everything still runs, and nothing was an error', async () => {
      driver.send('finish');
      await driver.expect('done');
      await driver.end();
      assert.deepEqual(server.errors(), []);
    });
  });
}
