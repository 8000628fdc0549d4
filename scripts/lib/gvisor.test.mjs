import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { capture } from './command.mjs';
import { besideRunsc, findRunsc, pinned, releaseDay } from './gvisor.mjs';
import { cacheDir } from './paths.mjs';

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

const runsc = await findRunsc();

function whyNotBuilt() {
  if (runsc === undefined) return 'there is no gVisor';
  if (runsc !== join(cacheDir(), 'bin', 'runsc')) return `${runsc} is not of our building`;
  return process.getuid?.() === 0 ? false : 'needs root';
}

test('a gVisor that was built here compiles no filter when it starts, and has no table of files to enlarge', {
  skip: whyNotBuilt(),
}, async () => {
  const root = join(directory, 'state');
  const logs = join(directory, 'logs');
  const options = ['--platform=systrap', '--network=none', '--ignore-cgroups', '--host-uds=open'];
  await capture([runsc, '--root', root, '--debug', `--debug-log=${logs}/`, ...options, 'do', '/bin/true']);
  await capture(['umount', join(root, 'null-netns')], { okCodes: [32] }); // gVisor may keep one mounted there
  const log = readdirSync(logs)
    .map((name) => readFileSync(join(logs, name), 'utf8'))
    .join('\n');
  assert.doesNotMatch(log, /No precompiled program found/);
  assert.equal(
    log.match(/Loaded precompiled seccomp instructions/g)?.length,
    2,
    'of the kernel and of the gofer',
  );
  assert.match(log, /Sidecar "gvisor-sentry-prewarmer" found/);
  for (const name of besideRunsc) assert.ok(readFileSync(join(dirname(runsc), name)).length > 0, name);
});
