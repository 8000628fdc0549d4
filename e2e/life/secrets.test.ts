/** Secrets through the official Python client, and that their values are nowhere on the machine but in the sandbox. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { defaultRunDir } from '../../server/src/engines/oci/layout.ts';
import { run } from '../../server/src/platform/command.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

const randomValue = () => `value-${randomBytes(16).toString('hex')}`;

describe('secrets', () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ runtime: 'runc', flags: ['--log-level', 'debug'] });
  });
  after(() => server?.stop());

  test('what the client does with them', async (t) => {
    const value = randomValue();
    await pythonCases(t, server, 'secret_values', { env: { LIFE_SECRET_VALUE: value } });
    assert.ok(!server.log().includes(value), 'a value is in the log');
  });

  test('while a sandbox runs with them, their values are in no log, no file and no command line', async (t) => {
    const value = randomValue();
    await pythonCases(t, server, 'secret_values', {
      only: ['a_sandbox_with_secrets_is_left_running_for_the_test_to_look_at'],
      env: { LIFE_SECRET_VALUE: value, LIFE_KEEP_NAME: 'left-running' },
    });
    assert.ok(server.log().includes('sandbox.running'), 'the log is empty: the test looks at nothing');
    assert.ok(!server.log().includes(value), 'a value is in the log');
    for (const directory of [server.dataDir, defaultRunDir(server.dataDir)]) {
      // Images hold what they were made of; none was made of this value. What is in a disk of a sandbox is looked at where it is mounted: the file is holes.
      const where = ['--exclude-dir=images', '--exclude-dir=disks', value, directory] as const;
      const found = await run(['grep', '-rlaF', '-D', 'skip', ...where], { okCodes: [0, 1, 2] });
      assert.equal(found.stdout, '', 'files that hold a value');
    }
    const commandLines = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        } catch {
          return ''; // ended meanwhile
        }
      });
    assert.ok(!commandLines.some((line) => line.includes(value)), 'a value is on a command line');
  });
});
