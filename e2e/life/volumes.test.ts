/** Volumes and their files through the official clients. */
import { after, before, describe, test } from 'node:test';
import { onceUnderRunc, runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { goCases, jsCases, pythonCases } from './support/cases.ts';

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`volumes under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime });
    });
    // Asserts that nothing of them is left on the machine.
    after(() => server?.stop());

    if (runtime === 'runc') test('their files, in Python', (t) => pythonCases(t, server, 'volume_files'));
    test('in sandboxes, in Python', (t) =>
      pythonCases(t, server, 'volume_mounts', { env: { LIFE_RUNTIME: runtime } }));
    if (runtime === 'runc') {
      test('in sandboxes, in Python 1.3.5, which reloads through the control plane', (t) =>
        pythonCases(t, server, 'volume_mounts', {
          version: '1.3.5',
          only: [
            'what_a_sandbox_wrote_is_in_the_volume_after_its_end',
            'another_sandbox_sees_it_after_a_reload_and_not_before',
          ],
        }));
    }
    test('in JavaScript', { skip: onceUnderRunc(runtime) }, (t) => jsCases(t, server, 'volumes'));
    test('in Go', { skip: onceUnderRunc(runtime) }, (t) =>
      goCases(t, server, { only: ['volumes are mounted, reloaded and deleted'] }),
    );
  });
}
