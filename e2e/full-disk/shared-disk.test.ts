/**
 * Sandboxes that may write more than the machine has, all of them at once: each is told that there is no room, none loses what it wrote, and the server keeps the
 * room that it needs.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Driver, startDriver } from '../support/driver.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';
import { makeSmallDisk, noSmallDisk, type SmallDisk } from '../support/small-disk.ts';

const MIB = 2 ** 20;
const DISK_MIB = 900;
/** Where it is full this much is the server's. */
const LEAST_LEFT_MIB = 16;
const PATIENCE_MS = patient(60_000);

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`a data directory smaller than its sandboxes' disks, under ${runtime}`, {
    skip: skip || noSmallDisk,
  }, () => {
    let scratch: string;
    let disk: SmallDisk;
    let server: TestServer;
    let driver: Driver;
    before(async () => {
      scratch = mkdtempSync(join(tmpdir(), 'shared-disk-'));
      disk = await makeSmallDisk(DISK_MIB * MIB);
      const dataDir = join(disk.path, 'data');
      mkdirSync(dataDir);
      server = await startServer({ runtime, dataDir, logFile: join(scratch, 'server.log') });
      driver = startDriver(server, 'e2e/full-disk/shared.py');
      await driver.expect('ready');
    });
    after(async () => {
      await driver?.[Symbol.asyncDispose]();
      await server?.stop();
      await disk?.[Symbol.asyncDispose]();
      rmSync(scratch, { recursive: true, force: true });
    });

    const leftMiB = () => {
      const { bavail, bsize } = statfsSync(disk.path);
      return (bavail * bsize) / MIB;
    };
    const filled = async () => {
      driver.send('fill');
      const { sizes } = await driver.expect('filled');
      return (sizes as number[]).reduce((sum, size) => sum + size, 0); // numbers of the driver's
    };
    const keptAll = async () => {
      driver.send('look');
      assert.deepEqual(await driver.expect('kept'), { event: 'kept', same: true });
    };
    const uploaded = async (mebibytes: number, versions = [1, 2]) => {
      driver.send(`upload ${mebibytes} ${versions.join(' ')}`);
      const { errors } = await driver.expect('uploaded');
      return errors as (string | null)[]; // the driver's
    };
    const created = async () => {
      driver.send('create');
      return (await driver.expect('created')).error;
    };

    test('there is no room for them, and nothing is lost', async () => {
      const { pid } = server;
      const room = leftMiB();
      assert.ok(room < 2 * 10_240, 'the disks are larger');
      // What is shared out anew each second is taken anew.
      const end = performance.now() + PATIENCE_MS;
      let taken = 0;
      do {
        taken = await filled();
        assert.ok(leftMiB() >= LEAST_LEFT_MIB, `${leftMiB()} MiB are left`);
        assert.ok(performance.now() < end, `${taken} MiB of ${room} could be taken`);
      } while (taken < 0.5 * room);
      assert.ok(taken < room, `${taken} of ${room} MiB`);
      await keptAll();
      const error = await created();
      if (error !== null) assert.match(String(error), /out of disk space|No space left on device/);
      assert.equal(server.pid, pid);
    });

    test('who uploads to a volume is told so, and takes nothing of what is left', async () => {
      // Sandboxes have written much that is in memory only: that has its place on the disk.
      await uploaded(Math.ceil(leftMiB() / 2), [2]);
      await disk.sync();
      const before = leftMiB();
      assert.ok(before >= LEAST_LEFT_MIB, `${before} MiB are left`);
      for (const error of await uploaded(Math.ceil(before) + 1))
        assert.match(String(error), /out of disk space for an upload/);
      assert.ok(leftMiB() > before - LEAST_LEFT_MIB / 2, `${leftMiB()} of ${before} MiB are left`);
      await keptAll();
    });

    test('nor does a copy of a sandbox', async () => {
      driver.send('snapshot');
      const { error } = await driver.expect('snapshot');
      if (error !== null) assert.match(String(error), /out of disk space for a copy of the sandbox/);
      await disk.sync();
      assert.ok(leftMiB() >= LEAST_LEFT_MIB, `${leftMiB()} MiB are left`);
      await keptAll();
    });

    test('there is room again once they remove files', async () => {
      driver.send('free');
      await driver.expect('freed');
      const end = performance.now() + PATIENCE_MS;
      for (let error = await created(); error !== null; error = await created()) {
        assert.ok(performance.now() < end, String(error));
      }
      while ((await uploaded(64)).some((error) => error !== null))
        assert.ok(performance.now() < end, 'there is no room for uploads');
      assert.ok((await filled()) > 0);
      await keptAll();
    });
  });
}
