/** What a server loads when it starts, from its sources and from the one file that is made of them; and that this one is used only as long as it is what the sources are. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { buildServer, onDemand } from '../build.mjs';
import { bundleFile, firstLine, isBundled, takeSource, withoutSources } from '../bundle.mjs';
import { lockDataDir } from './platform/exclusive.ts';

/** What makes certificates: in the one file, and loaded where a server makes its own. */
const WHEN_MADE = ['@peculiar/x509', 'reflect-metadata'];

/** Says in the end which packages were loaded. */
const TELL = `
import { registerHooks } from 'node:module';
const packages = new Set();
registerHooks({
  load(url, context, next) {
    const [, name] = /.*\\/node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url) ?? [];
    if (name) packages.add(name);
    return next(url, context);
  },
});
process.on('exit', () => console.log(JSON.stringify([...packages])));`;

/** Which packages a server loads that has no settings but a data directory. Another one works there, so that it ends when all is loaded, before it touches the machine. */
function loadedBy(t, program) {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-bundle-'));
  const unlock = lockDataDir(dataDir);
  t.after(() => {
    unlock();
    rmSync(dataDir, { recursive: true });
  });
  const preload = `data:text/javascript,${encodeURIComponent(TELL)}`;
  const config = ['--data-dir', dataDir, '--extra-ca-file', 'none'];
  const code = `const { serve } = await import(${JSON.stringify(program)}); await serve(process.argv.slice(1));`;
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', preload, '--input-type=module', '--eval', code, '--', ...config],
    { encoding: 'utf8' },
  );
  assert.match(stderr, /Another Skerry server works on/);
  return JSON.parse(stdout);
}

test('a plain start loads nothing that only some settings and calls ask for', (t) => {
  const loaded = loadedBy(t, new URL('serve.ts', import.meta.url).href);
  assert.ok(loaded.includes('fastify'));
  assert.deepEqual(
    loaded.filter((name) => [...onDemand, ...WHEN_MADE].includes(name)),
    [],
  );
});

test('from the one file it loads no package at all', async (t) => {
  await buildServer();
  assert.equal(isBundled(), true);
  assert.deepEqual(loadedBy(t, bundleFile), []);
});

test('the one file is left where a source is another, is gone, or it was never made', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'bundle-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const other = join(directory, 'server.cjs');
  assert.equal(isBundled(other), false);
  const made = (line) => {
    writeFileSync(other, `${line}\ncode`);
    return isBundled(other);
  };
  const path = 'server/src/main.ts';
  const { source } = takeSource(path);
  assert.equal(made(firstLine({ [path]: source })), true);
  assert.equal(made(firstLine({ [path]: { ...source, file: '1 1 1' } })), true, 'a copy of it');
  assert.equal(made(firstLine({ [path]: { hash: source.hash } })), true, 'one that was new then');
  for (const file of ['1 1 1', undefined])
    assert.equal(made(firstLine({ [path]: { hash: 'another', file } })), false);
  assert.equal(made(firstLine({ [path]: source, 'server/src/none.ts': source })), false);
  assert.equal(made('// {'), false);
  assert.equal(made(''), false);
});

test('in a container image it is used without a look at sources', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'bundle-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const other = join(directory, 'server.cjs');
  writeFileSync(other, withoutSources());
  assert.equal(isBundled(other), true);
  const codeOf = (file) => readFileSync(file, 'utf8').split('\n').slice(1).join('\n');
  assert.equal(codeOf(other), codeOf(bundleFile));
});
