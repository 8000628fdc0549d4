import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { findRuntimes } from './runtime-choice.ts';

const directory = mkdtempSync(join(tmpdir(), 'runtime-choice-'));
after(() => rmSync(directory, { recursive: true, force: true }));

/** A program that answers as a runsc of that release does and runs nothing. */
function writeRunsc(folder: string, release: string): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, 'runsc');
  writeFileSync(path, `#!/bin/sh\ncase "$*" in --version) echo "runsc version ${release}";; esac\n`);
  chmodSync(path, 0o755);
  return path;
}

test('the runsc of the setup goes before one in PATH that is too old, and tells its version', async () => {
  const inPath = join(directory, 'bin');
  process.env.PATH = `${inPath}:/usr/bin:/bin`;
  process.env.XDG_CACHE_HOME = join(directory, 'cache');
  const found = async () => {
    const { gvisor } = await findRuntimes('', directory);
    assert.ok(gvisor.ok);
    return [gvisor.path, gvisor.version];
  };
  const old = writeRunsc(inPath, 'release-20221219.0');
  assert.deepEqual(await found(), [old, 'runsc version release-20221219.0'], 'better than none');
  const built = writeRunsc(join(directory, 'cache', 'skerry', 'bin'), 'VERSION_MISSING');
  writeFileSync(`${built}.version`, 'v0.0.0-1-2');
  assert.deepEqual(await found(), [built, 'runsc v0.0.0-1-2']);
  const recent = writeRunsc(inPath, 'release-20261101.0');
  assert.deepEqual(await found(), [recent, 'runsc version release-20261101.0']);
});
