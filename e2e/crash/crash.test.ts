/**
 * The server is killed at random moments while clients upload, commit, reload, build, take snapshots and remove, and while all that nobody uses is collected
 * all the time: what is found afterwards is the state before or the one after, never a mix, and what was answered is there. `npm run test:crash` does it 200 times,
 * half of them under gVisor, and keeps a record.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { delay } from '../../server/src/platform/wait.ts';
import { type Driver, startDriver } from '../support/driver.ts';
import { onceUnderRunc, runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';

const asked = Number(process.env.SKERRY_TEST_KILLS) || undefined;
const KILLS = asked ?? 2;
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
  describe(`storage and a server that is killed under ${runtime}`, {
    skip: skip || (asked ? false : onceUnderRunc(runtime)),
  }, () => {
    let server: TestServer;
    let driver: Driver;
    let stopCollecting: () => Promise<number>;
    /** How long a round takes in which nobody is killed. */
    let usualMs = 0;
    before(async () => {
      server = await startServer({ runtime, dataDir });
      stopCollecting = keepCollecting(server);
      driver = startDriver(server, 'e2e/crash/driver.py');
      await driver.expect('ready');
      const began = performance.now();
      driver.send('round 1');
      await driver.expect('working');
      driver.send('killed'); // it is not
      await driver.expect('done');
      usualMs = Math.ceil(performance.now() - began);
    });
    after(async () => {
      await stopCollecting?.();
      await driver?.[Symbol.asyncDispose]();
      await server?.stop();
    });

    for (let kill = 1; kill <= KILLS; kill++) {
      test(`${kill}: killed at a random moment of a round`, async (t) => {
        const momentMs = randomInt(usualMs);
        t.diagnostic(`killed ${momentMs} ms into the round`);
        driver.send(`round ${kill + 1}`);
        await driver.expect('working');
        await delay(momentMs);
        driver.send('killed');
        const killed = performance.now();
        await server.kill9();
        await server.restart();
        const backMs = Math.round(performance.now() - killed);
        const { underway, slowest } = await driver.expect('done');
        if (!record) return;
        const roundMs = Math.round(momentMs + performance.now() - killed);
        const line = { runtime, momentMs, backMs, roundMs, underway, slowest };
        appendFileSync(record, `${JSON.stringify(line)}\n`);
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
