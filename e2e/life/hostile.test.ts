/** Programs that nobody would let near anything, in sandboxes, under each runtime. */
import { after, before, describe, test } from 'node:test';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`hostile programs under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime });
    });
    after(() => server?.stop());

    test('the agent, and what all share', (t) =>
      pythonCases(t, server, 'hostile', { env: { LIFE_RUNTIME: runtime } }));
  });
}
