import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readRecord } from './record.ts';

test('a record of a version that gave every sandbox an address of its own says so', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-record-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const record = join(directory, 'record');
  const init = { pid: 42, startTime: '7' };
  const known = { version: 1, runtime: 'runc', init, slot: 3, policy: { kind: 'open' } };
  await writeFile(record, JSON.stringify(known));
  assert.deepEqual(await readRecord({ record }), { ...known, addressing: 'own' });
});
