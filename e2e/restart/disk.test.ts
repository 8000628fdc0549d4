/** A sandbox's disk is bounded whichever way the server goes and comes back, and nothing is left of the disks that were nobody's. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Driver, startDriver } from '../support/driver.ts';
import { inventory } from '../support/inventory.ts';
import { onceUnderRunc, runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { noSmallDisk } from '../support/small-disk.ts';

const SIZE_MIB = 96;

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`the disk of a sandbox under ${runtime}`, {
    skip: skip || noSmallDisk || onceUnderRunc(runtime),
  }, () => {
    let server: TestServer;
    let driver: Driver;
    before(async () => {
      server = await startServer({ runtime, flags: ['--default-disk-mib', String(SIZE_MIB)] });
      driver = startDriver(server, 'e2e/restart/disk.py');
      await driver.expect('ready');
    });
    after(async () => {
      await driver?.[Symbol.asyncDispose]();
      await server?.stop();
    });

    const images = () => readdirSync(join(server.dataDir, 'disks'));
    const bounded = async (sandboxes: number) => {
      driver.send('fill');
      const { sizes } = await driver.expect('filled');
      assert.ok(Array.isArray(sizes) && sizes.length === sandboxes, JSON.stringify(sizes));
      for (const size of sizes) assert.ok(0.9 * SIZE_MIB <= size && size <= 1.1 * SIZE_MIB, `${size} MiB`);
    };

    test('is bounded after the server was killed, and what was made ahead is gone', async () => {
      await bounded(1);
      const before = images();
      await server.kill9();
      await server.restart();
      const kept = images().filter((name) => before.includes(name));
      assert.equal(kept.length, 1, 'the disk of the sandbox, and no other of the killed server');
      await bounded(1);
      driver.send('create');
      await driver.expect('done');
      await bounded(2);
    });

    test('is bounded after the server was restarted', async () => {
      await server.restartGracefully();
      await bounded(2);
    });

    test('goes with the sandbox, also one of an earlier server', async () => {
      const linked = () => readdirSync(join(server.dataDir, 'instances'));
      assert.equal(linked().length, 2);
      driver.send('terminate');
      await driver.expect('done');
      await driver.end();
      assert.deepEqual(linked(), []);
      await server.terminate();
      assert.deepEqual(images(), [], 'what nobody had goes with the server');
      assert.deepEqual(
        (await inventory(server.dataDir)).filter((line) => /^mount \/dev\/loop/.test(line)),
        [],
      );
      await server.restart();
    });
  });
}
