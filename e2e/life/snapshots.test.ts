/** Snapshots through the official clients under each runtime. */
import { after, before, describe, test } from 'node:test';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`snapshots under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime });
    });
    after(() => server?.stop());

    test('of whole filesystems, with the Python client', (t) =>
      pythonCases(t, server, 'snapshots', { timeoutMs: 600_000 }));

    test('of directories, and images mounted into running sandboxes, with the Python client', (t) =>
      pythonCases(t, server, 'mounted', { env: { LIFE_DATA_DIR: server.dataDir } }));
  });
}
