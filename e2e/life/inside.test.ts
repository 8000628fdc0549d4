/** What happens inside a sandbox, as programs written for Modal expect it, under each runtime. */
import { after, before, describe, test } from 'node:test';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`inside a sandbox under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime });
    });
    after(() => server?.stop());

    test('programs, their output and their files', (t) =>
      pythonCases(t, server, 'inside', { env: { LIFE_RUNTIME: runtime } }));
  });
}
