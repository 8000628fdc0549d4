import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { supervisorBinaryPath } from '../agent/agent-binary.ts';
import { run } from '../platform/command.ts';

const skip = existsSync(supervisorBinaryPath()) ? false : 'the supervisor is not built';

/** Is killed the first time, and ends with 7 the second. */
const SERVER = 'if [ -e "$1" ]; then exit 7; fi; : > "$1"; kill -9 $$';

test('the supervisor starts a killed server again though its words find no room on the disk', {
  skip,
}, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-supervisor-'));
  t.after(() => rm(directory, { recursive: true }));
  const command = ['127.0.0.1', '0', '/bin/sh', '-c', SERVER, 'sh', join(directory, 'started')];
  const silent = ['sh', '-c', 'exec "$@" 2>/dev/full', 'sh', supervisorBinaryPath(), ...command] as const;
  const { code } = await run([...silent], { okCodes: [7] });
  assert.equal(code, 7);
});

test('the next server has the ports that a killed one wanted kept and did not give back', {
  skip,
}, async () => {
  const program = join(import.meta.dirname, 'testing/keeping-server.ts');
  const command = ['127.0.0.1', '0', process.execPath, program];
  const { stdout, stderr } = await run([supervisorBinaryPath(), ...command], { okCodes: [7] });
  const [before = '', after = ''] = stdout.split('\n');
  const ports = (text: string) => text.trim().split(' ').sort();
  assert.equal(ports(before).length, 4);
  assert.deepEqual(ports(after), ports(before), stderr);
});
