/** Sidecars through the official clients, under each runtime. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { runJs } from '../support/clients.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`sidecars under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime });
    });
    // Asserts that nothing of them is left on the machine.
    after(() => server?.stop());

    test('in Python', (t) => pythonCases(t, server, 'sidecars'));
    test('in Python, created through the command router', (t) =>
      pythonCases(t, server, 'sidecars', {
        env: { MODAL_USE_CONTROL_PLANE_SIDECAR_CREATE: '0' },
        only: ['localhost_reaches_both_ways', 'exec_in_a_sidecar', 'names'],
      }));
  });
}
