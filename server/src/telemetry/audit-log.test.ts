import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { AuditLog } from './audit-log.ts';
import { createLogger } from './logger.ts';

const MIB = 2 ** 20;

function setUp(t: TestContext, maxBytes = MIB) {
  const directory = mkdtempSync(join(tmpdir(), 'skerry-audit-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const log: Record<string, unknown>[] = [];
  const logger = createLogger('debug', { write: (line) => void log.push(JSON.parse(line)) });
  const lines = (name = 'audit.log') =>
    readFileSync(join(directory, name), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  return { directory, log, lines, audit: new AuditLog({ directory, maxBytes, logger, now: () => 0 }) };
}

const call = (method: string, subjects = {}) =>
  ({ api: 'modal', method, status: 'OK', durationMs: 1.234, caller: 'ak-1', subjects }) as const;

test('each call is a line with who, what, on what and how it went; greetings are none', async (t) => {
  const { audit, lines, directory } = setUp(t);
  audit.onCall(call('ClientHello'));
  audit.onCall(call('SandboxTerminate', { sandboxId: 'sb-1' }));
  await audit.close();
  assert.deepEqual(lines(), [
    {
      ...{ time: '1970-01-01T00:00:00.000Z', token: 'ak-1', api: 'modal', call: 'SandboxTerminate' },
      ...{ sandboxId: 'sb-1', status: 'OK', durationMs: 1.2 },
    },
  ]);
  assert.equal(statSync(join(directory, 'audit.log')).mode & 0o777, 0o600);
});

test('files are rotated, and all together keep their bound, also over restarts', async (t) => {
  const maxBytes = 64 * 1024;
  const { directory, log } = setUp(t, maxBytes);
  const logger = createLogger('silent');
  for (let round = 0; round < 40; round++) {
    const audit = new AuditLog({ directory, maxBytes, logger, now: () => 0 });
    for (let count = 0; count < 20; count++)
      audit.onCall(call(`Call${round}`, { sandboxId: 'sb-'.padEnd(80, 'x') }));
    await audit.close();
  }
  const files = readdirSync(directory);
  assert.equal(files.length, 8, files.join());
  const bytes = files.reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
  assert.ok(bytes <= maxBytes, `${bytes} bytes`);
  assert.match(readFileSync(join(directory, 'audit.log'), 'utf8'), /Call39/);
  assert.deepEqual(log, []);
});

test('what cannot be written holds nobody up, and is counted', async (t) => {
  const { audit, directory, log, lines } = setUp(t);
  rmSync(directory, { recursive: true });
  audit.onCall(call('One'));
  audit.onCall(call('Two'));
  await audit.close();
  assert.deepEqual(log.find(({ msg }) => msg === 'audit.lost')?.lines, 2);
  assert.throws(() => lines());
});
