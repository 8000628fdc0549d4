import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { MountId } from '../ids.ts';
import { openTestStore } from '../store/testing/open-test-store.ts';
import type { MountedFile } from './blobs.ts';
import { MountService } from './mount-service.ts';

const digest = 'a'.repeat(64);
const missing = 'b'.repeat(64);

function setUp(t: TestContext): MountService {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-mounts-'));
  const store = openTestStore(dataDir);
  t.after(() => {
    store.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  return new MountService(store.mounts, { has: (sha256Hex) => sha256Hex === digest });
}

const file = (path: string, mode = 0o644, sha256Hex = digest): MountedFile => ({ path, sha256Hex, mode });

test('equal lists are one mount, whatever their order; a mode makes another', (t) => {
  const mounts = setUp(t);
  const first = mounts.create([file('/b'), file('/a/c', 0o100755)]);
  assert.deepEqual(mounts.create([file('/a/c', 0o755), file('/b')]), first);
  assert.notEqual(mounts.create([file('/a/c', 0o644), file('/b')]).id, first.id);
  assert.deepEqual(mounts.files(first.id), [file('/a/c', 0o755), file('/b')]);
  assert.deepEqual(mounts.files(mounts.create([]).id), []);
  assert.throws(() => mounts.files('mo-1' as MountId), { code: 'not-found' });
});

test('paths that could lead elsewhere or clash are refused', (t) => {
  const mounts = setUp(t);
  const bad = [
    '',
    'a',
    '/',
    '/a/',
    '/a/../b',
    '/./a',
    '//a',
    '/a\0b',
    `/${'x'.repeat(256)}`,
    `/${'x/'.repeat(2100)}x`,
  ];
  for (const path of bad) {
    assert.throws(() => mounts.create([file(path)]), { code: 'invalid-argument' }, JSON.stringify(path));
  }
  assert.throws(() => mounts.create([file('/a'), file('/a')]), { code: 'invalid-argument' });
  assert.throws(() => mounts.create([file('/a'), file('/a-b'), file('/a/b/c')]), {
    code: 'invalid-argument',
  });
  assert.throws(() => mounts.create([file('/a', 0o644, 'zz')]), { code: 'invalid-argument' });
  assert.throws(() => mounts.create([file('/a', 0o644, missing)]), { code: 'conflict' });
});
