/**
 * The server is killed at random moments while clients upload, commit, reload, build, take snapshots and remove, and while all that nobody uses is collected
 * all the time: what is found afterwards is the state before or the one after, never a mix, and what was answered is there. `npm run test:crash` does it 200 times
 * and keeps a record.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { delay } from '../../server/src/platform/wait.ts';
import { type Driver, startDriver } from '../support/driver.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';

const KILLS = Number(process.env.SKERRY_TEST_KILLS) || 2;
/** Longest time into a round at which the server is killed; one takes about as long. */
const LATEST_MOMENT_MS = patient(3_000);
/** A line for each kill, where this is set: what was under way. */
const record = process.env.SKERRY_TEST_RECORD;
/** What nobody used for so long is collected: a client that was told of an image has about as long to use it, or builds it again. */
const UNUSED_FOR_MS = 2_000;
/** Between one collection and the next. */
const PAUSE_MS = 50;
/** The test's own: the base images of other tests would be collected as well. */
const dataDir = mkdtempSync(join(tmpdir(), 'crash-data-'));
after(() => rmSync(dataDir, { recursive: true, force: true }));

/** Collects without an end, with a server or without one. @returns how to stop, which tells how many images went */
function keepCollecting(server: TestServer): () => Promise<number> {
  let images = 0;
  let over = false;
  const { tokenId, tokenSecret } = server.token;
  const collect = async (): Promise<void> => {
    const response = await fetch(`${server.url}/skerry/v1/disk/prune`, {
      method: 'POST',
      headers: { authorization: `Bearer ${tokenId}:${tokenSecret}` },
      body: JSON.stringify({ unusedForMs: UNUSED_FOR_MS }),
    });
    const answer = (await response.json()) as { readonly images: number };
    assert.ok(response.ok, JSON.stringify(answer));
    images += answer.images;
  };
  const collecting = (async () => {
    while (!over) {
      await collect().catch((error: unknown) => {
        if (error instanceof assert.AssertionError) throw error;
        // It is being killed, or is away.
      });
      await delay(PAUSE_MS);
    }
  })();
  return async () => {
    over = true;
    await collecting;
    return images;
  };
}

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`storage and a server that is killed under ${runtime}`, { skip }, () => {
    let server: TestServer;
    let driver: Driver;
    let stopCollecting: () => Promise<number>;
    before(async () => {
      server = await startServer({ runtime, dataDir });
      stopCollecting = keepCollecting(server);
      driver = startDriver(server, 'e2e/crash/driver.py');
      await driver.expect('ready');
    });
    after(async () => {
      await stopCollecting?.();
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
      const collected = await stopCollecting();
      assert.ok(collected >= KILLS, `${collected} images were collected`);
      assert.deepEqual(server.errors(), []);
    });
  });
}
