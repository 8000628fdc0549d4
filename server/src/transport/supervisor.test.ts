import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { supervisorBinaryPath } from '../agent/agent-binary.ts';
import { run } from '../platform/command.ts';

/** Is killed the first time, and ends with 7 the second. */
const SERVER = 'if [ -e "$1" ]; then exit 7; fi; : > "$1"; kill -9 $$';

test('the supervisor starts a killed server again though its words find no room on the disk', {
  skip: existsSync(supervisorBinaryPath()) ? false : 'the supervisor is not built',
}, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-supervisor-'));
  t.after(() => rm(directory, { recursive: true }));
  const command = ['127.0.0.1', '0', '/bin/sh', '-c', SERVER, 'sh', join(directory, 'started')];
  const silent = ['sh', '-c', 'exec "$@" 2>/dev/full', 'sh', supervisorBinaryPath(), ...command] as const;
  const { code } = await run([...silent], { okCodes: [7] });
  assert.equal(code, 7);
});
