import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { findRunsc, pinned, releaseDay } from './gvisor.mjs';

const directory = mkdtempSync(join(tmpdir(), 'gvisor-'));
after(() => rmSync(directory, { recursive: true, force: true }));

/** A program that answers `--version` as a runsc of that release does. */
function writeRunsc(folder, release) {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, 'runsc');
  writeFileSync(path, `#!/bin/sh\necho "runsc version ${release}"\necho "spec: 1.2.1"\n`);
  chmodSync(path, 0o755);
  return path;
}

test('the day of a release is read from whatever names it', () => {
  assert.equal(releaseDay('runsc version release-20241202.0\nspec: 1.1.0'), '20241202');
  assert.equal(releaseDay(pinned.version), '20260905');
  assert.equal(releaseDay('0.0~20221219.0-2+b3'), '20221219', "Debian 12's package");
  assert.equal(releaseDay('runsc version VERSION_MISSING'), undefined);
  assert.ok(pinned.oldest <= releaseDay(pinned.version));
});

test('a runsc in PATH is used unless it is too old and a newer one was built', async () => {
  const inPath = join(directory, 'bin');
  process.env.PATH = `${inPath}:/usr/bin:/bin`;
  process.env.XDG_CACHE_HOME = directory;
  const old = writeRunsc(inPath, 'release-20221219.0');
  assert.equal(await findRunsc(), old, 'better than none');
  const built = writeRunsc(join(directory, 'skerry', 'bin'), 'VERSION_MISSING');
  assert.equal(await findRunsc(), built);
  for (const release of ['release-20261101.0', 'VERSION_MISSING']) {
    const recent = writeRunsc(inPath, release);
    assert.equal(await findRunsc(), recent, release);
  }
});
