/** The clients' file interface where it is hard, under each runtime. */
import { after, before, describe, test } from 'node:test';
import { onceUnderRunc, runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

/** MiB. The large file fits into the bound of a sandbox's output once, and not twice. */
const LARGE = { file: 160, bound: 256 } as const;
/** MiB that a sandbox can write: to fill it takes no time. */
const DISK_MIB = 512;

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`files under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      const bounds = ['--max-output-mib', String(LARGE.bound), '--default-disk-mib', String(DISK_MIB)];
      server = await startServer({ runtime, flags: bounds });
    });
    after(() => server?.stop());

    test('odd names, odd kinds, no right, no root, large files', (t) =>
      pythonCases(t, server, 'files', {
        env: { LIFE_RUNTIME: runtime, LIFE_LARGE_MIB: String(LARGE.file) },
      }));

    test('the same with `open` of older clients', { skip: onceUnderRunc(runtime) }, (t) =>
      pythonCases(t, server, 'open_files', { version: '1.0.5' }),
    );
  });
}
