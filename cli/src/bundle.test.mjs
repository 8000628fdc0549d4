/** The commands in one file: whether it is used only as long as it is what the sources are, and holds no more than they need. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bundleFile, contentFile, isBundled } from '../bin/bundle.mjs';
import { buildCommand } from '../build.mjs';
import { createProgram } from './main.ts';

test('it has the commands that work in sandboxes, as the sources have them, and nothing that takes long to load', async () => {
  const { inputs } = await buildCommand();
  assert.deepEqual(
    inputs.filter((path) =>
      /zod\/v4\/classic|server\/src\/(operator|config\/config)\.ts|\/gen\/.*_pb/.test(path),
    ),
    [],
  );
  const bundled = createRequire(import.meta.url)(bundleFile);
  for (const name of (await createProgram()).commands.map((each) => each.name())) {
    if (!isBundled(name)) continue;
    const helps = [await createProgram(name), await bundled.createProgram(name)].map((program) =>
      program.commands.map((each) => each.helpInformation()),
    );
    assert.deepEqual(helps[1], helps[0]);
  }
  assert.deepEqual(
    ['run', 'up', 'rnu', '--help', undefined].map((word) => isBundled(word ?? '')),
    [true, false, false, false, false],
  );
});

test('it is left where a source is another, is gone, or it was never made', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'bundle-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const content = JSON.parse(readFileSync(contentFile, 'utf8'));
  const [source] = Object.keys(content.sources);
  assert.ok(source);
  const other = join(directory, 'content.json');
  assert.equal(isBundled('run', other), false);
  writeFileSync(other, JSON.stringify(content));
  assert.equal(isBundled('run', other), true);
  for (const sources of [{ [source]: '1 1' }, { 'cli/src/none.ts': '1 1' }]) {
    writeFileSync(other, JSON.stringify({ ...content, sources: { ...content.sources, ...sources } }));
    assert.equal(isBundled('run', other), false);
  }
  writeFileSync(other, JSON.stringify({ ...content, sources: {} })); // as the server's container image has it
  assert.equal(isBundled('ls', other), true);
  writeFileSync(other, '{');
  assert.equal(isBundled('run', other), false);
});

test('the program that is linked starts Node 24 by itself, from a link as well, and passes all on', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'launcher-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const launcher = fileURLToPath(new URL('../bin/skerry', import.meta.url));
  const link = join(directory, 'a link');
  symlinkSync(launcher, link);
  const options = { env: { PATH: '/usr/bin:/bin' }, encoding: 'utf8' };
  const { status, stderr } = spawnSync(link, ['rnu', 'a  b'], options);
  assert.deepEqual([status, /Did you mean run\?/.test(stderr)], [2, true]);
});
