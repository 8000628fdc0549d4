/** Limits, and everything that a runtime could do differently, under each runtime. */
import { after, before, describe, test } from 'node:test';
import { instanceName } from '../../server/src/engines/oci/layout.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

const OUTPUT_BOUND_MIB = 32;

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`limits under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime, flags: ['--max-output-mib', String(OUTPUT_BOUND_MIB)] });
    });
    after(() => server?.stop());

    test('memory, CPU, processes, output, terminals, signals, idleness', (t) =>
      pythonCases(t, server, 'limits', {
        env: {
          LIFE_INSTANCE: instanceName(server.dataDir),
          LIFE_RUNTIME: runtime,
          LIFE_OUTPUT_BOUND_MIB: String(OUTPUT_BOUND_MIB),
        },
      }));
  });
}
