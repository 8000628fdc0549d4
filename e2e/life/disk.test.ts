/** What bounds a sandbox's files, under each runtime: asked for with the official client, and across restarts of the server. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { noSmallDisk } from '../support/small-disk.ts';
import { pythonCases } from './support/cases.ts';

const DISK = {
  LIFE_DISK_MIB: '160',
  LIFE_DISK_FILES: '10240',
  LIFE_DISK_MAX_MIB: '512',
  LIFE_BUILD_DISK_MIB: '96',
  LIFE_VOLUME_DISK_MIB: '48',
  LIFE_VOLUME_DISK_FILES: '2048',
};
const FLAGS = [
  ...['--default-disk-mib', DISK.LIFE_DISK_MIB],
  ...['--default-disk-files', DISK.LIFE_DISK_FILES],
  ...['--max-disk-mib', DISK.LIFE_DISK_MAX_MIB],
  ...['--build-disk-mib', DISK.LIFE_BUILD_DISK_MIB],
  ...['--volume-disk-mib', DISK.LIFE_VOLUME_DISK_MIB],
  ...['--volume-disk-files', DISK.LIFE_VOLUME_DISK_FILES],
];

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`disks under ${runtime}`, { skip: skip || noSmallDisk }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime, flags: [...FLAGS, '--build-runtime', runtime] });
    });
    after(() => server?.stop());

    test('room and files of a sandbox are bounded', async (t) => {
      const { pid } = server;
      await pythonCases(t, server, 'disk', { env: { ...DISK, LIFE_DATA_DIR: server.dataDir } });
      assert.equal(server.pid, pid, 'the server never ended');
    });

    test('room and files of what it writes in a volume are bounded', (t) =>
      pythonCases(t, server, 'volume_disk', { env: DISK }));

    test('room and files of a build step are bounded', (t) =>
      pythonCases(t, server, 'build_disk', { env: DISK }));
  });
}
