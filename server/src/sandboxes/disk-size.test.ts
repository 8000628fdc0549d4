import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { checkDiskSize, diskSize } from './disk-size.ts';

const config = { defaultDiskMiB: 1000, defaultDiskFiles: 64_000, maxDiskMiB: 2 ** 32 };

test('who asks for nothing has the default, who asks for another size as many files in proportion', () => {
  assert.deepEqual(diskSize(0, config), { sizeMiB: 1000, files: 64_000 });
  assert.deepEqual(diskSize(500, config), { sizeMiB: 500, files: 32_000 });
  assert.deepEqual(diskSize(100, { ...config, defaultDiskFiles: 10_000_000 }), {
    sizeMiB: 100,
    files: 25_600,
  });
});

test('what cannot be had is refused, saying why', () => {
  const check = (asked: number, bounds = true, maxDiskMiB = config.maxDiskMiB) =>
    checkDiskSize(asked, { ...config, maxDiskMiB }, () => bounds, tmpdir());
  check(16);
  check(0, false);
  assert.throws(() => check(15), { code: 'invalid-argument', message: /at least 16/ });
  assert.throws(() => check(2001, true, 2000), { code: 'invalid-argument', message: /maxDiskMiB: 2000/ });
  assert.throws(() => check(100, false), { code: 'unimplemented', message: /doctor/ });
  assert.throws(() => check(2 ** 31), { code: 'resource-exhausted', message: /MiB of disk left/ });
});
