/**
 * The tests: `npm test [-- pattern ...]`. Installs what they need first; a pattern chooses the files whose path contains it. `--long`: those that take long instead
 * (`npm run test:long`), which writes what came of them to `docs/long-tests.md`.
 * End-to-end tests run some files at a time, each with a data directory of its own, which one file takes over from another: servers of different directories
 * share nothing on a machine. The images that several files use are made before.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, release, tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { capture } from './lib/command.mjs';
import { ensureGo } from './lib/go.mjs';
import { findRunsc, pinned } from './lib/gvisor.mjs';
import { longTests } from './lib/long-tests.mjs';
import { localDir, node, root } from './lib/paths.mjs';
import { runMain, step, together } from './lib/step.mjs';
import { ensurePackages, testPackages } from './lib/system-packages.mjs';
import { inGroups } from './lib/test-groups.mjs';
import { runTests } from './lib/test-runner.mjs';
import { processors, thisRun } from './lib/this-run.mjs';
import { ensureTools } from './lib/tools.mjs';
import { pythonClientVersions, setup, setupPythonClients } from './setup.mjs';

const unitDirs = ['server/src', 'cli/src', 'sdk/src', 'modbox-sdk/src', 'connect/src', 'scripts', 'bench'];
const e2eDirs = ['e2e'];
/** What each is called in `.skerry/bin`. */
const goPrograms = { 'examples/go': 'safe-code-execution-go', 'e2e/life/go': 'life-go' };
/** Files at once: more would measure the machine's patience. */
const E2E_LANES = 3;
/** Files that call programs of `tools/`, and run at the same time. */
const USES_TOOLS = /(^|\/)((modbox-)?sdk|mcp)\.test\.ts$/;
/** Files that make sandboxes of the default image, which takes a minute of processor time to make. */
const USES_DEFAULT_IMAGE = /(^|\/)(command-package|command-sandboxes|mcp|modbox|modbox-sdk|sdk)\.test\.ts$/;
/** No test may take longer, and no suite of them; those that build images from packages need minutes. */
const TIMEOUT_MS = 900_000;

await runMain(async () => {
  const isLong = process.argv[2] === '--long';
  const patterns = process.argv.slice(isLong ? 3 : 2);
  const isRoot = process.getuid?.() === 0;
  const units = isLong ? [] : testFiles(unitDirs, patterns);
  const ofThisRun = (path) =>
    isLong ? longTests.includes(path) : patterns.length > 0 || !longTests.includes(path);
  const e2e = isRoot ? testFiles(e2eDirs, patterns).filter(ofThisRun) : [];
  await setup();
  if (units.length + e2e.length === 0) {
    process.stderr.write(`No test file's path contains ${patterns.join(' or ')}.\n`);
    return 1;
  }
  const scratch = mkdtempSync(join(tmpdir(), 'e2e-'));
  try {
    const variables = {
      SKERRY_E2E_DATA_DIR: join(scratch, 'data'),
      SKERRY_E2E_LANES: E2E_LANES,
      SKERRY_E2E_BASE_DIR: process.env.SKERRY_E2E_BASE_DIR,
    };
    // Who has named a directory for them uses them once more.
    if (e2e.length > E2E_LANES) variables.SKERRY_E2E_BASE_DIR ??= join(scratch, 'base');
    const clients = setupPythonClients(pythonClientVersions);
    const [go] = await together([
      step('Go programs', buildGoPrograms),
      // One after the other: both may install packages.
      clients.then(() => step('Packages for tests', (progress) => ensurePackages(testPackages, progress))),
    ]);
    // More than there are processors: most of them wait, for what takes a while and for what must not come.
    const lanes = 2 * availableParallelism();
    // Each of the others waits for the network, or keeps one processor busy.
    const [code] = await together([
      // Twice as many groups, so that one which takes long is not left alone at the end.
      units.length > 0 ? nodeTest(inGroups(units, scratch, 2 * lanes), lanes) : 0,
      e2e.some((path) => USES_TOOLS.test(path)) && step('Tools for tests', ensureTools),
      variables.SKERRY_E2E_BASE_DIR &&
        step('Images for tests', (progress) => makeImages(variables.SKERRY_E2E_BASE_DIR, e2e, progress)),
    ]);
    let failed = code !== 0;
    if (e2e.length > 0) {
      const env = { ...(go.environment ?? process.env), ...variables };
      const table = join(scratch, 'table');
      failed = (await nodeTest(e2e, E2E_LANES, env, isLong ? table : undefined)) !== 0 || failed;
      if (isLong) await writeLongTests(readFileSync(table, 'utf8'), failed);
    }
    const skipped = [];
    if (go.missing) skipped.push(`the Go client (${go.note})`);
    if (!(await findRunsc())) skipped.push('everything under gVisor (no runsc)');
    if (!isRoot) skipped.push('everything that makes sandboxes (not root)');
    for (const what of skipped) process.stderr.write(`Skipped: ${what}\n`);
    return failed ? 1 : 0;
  } finally {
    // A hundred thousand files, which Node's own `rm` takes many times as long for.
    await step('Clean up', () => capture(['rm', '-rf', scratch]));
  }
});

function nodeTest(files, concurrency, variables = process.env, table = undefined) {
  // A shell in which `skerry env` was evaluated points every client at its server.
  const env = Object.fromEntries(
    Object.entries(variables).filter(([name]) => !/^(MODAL|MODBOX|SANDBOX)_/.test(name)),
  );
  return runTests(files, { timeoutMs: TIMEOUT_MS, concurrency, env, table });
}

function testFiles(dirs, patterns) {
  const walk = (dir) =>
    readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
      if (entry.name === 'node_modules' || entry.name === 'gen') return [];
      const path = join(dir, entry.name);
      return entry.isDirectory() ? walk(path) : /\.test\.(ts|mjs)$/.test(entry.name) ? [path] : [];
    });
  return dirs
    .flatMap((dir) => walk(join(root, dir)))
    .map((path) => relative(root, path))
    .filter((path) => patterns.length === 0 || patterns.some((pattern) => path.includes(pattern)))
    .sort();
}

async function writeLongTests(table, failed) {
  const run = `${await thisRun()}, Linux ${release()}, ${processors()}`;
  const lines = [
    '# Tests that take long',
    '',
    `\`npm run test:long\`, ${run}.${failed ? ' **Some failed: see the output of the run.**' : ''}`,
    '',
    'CI leaves these out: each takes minutes, and what it is about seldom changes.',
    '',
  ];
  writeFileSync(join(root, 'docs', 'long-tests.md'), `${lines.join('\n')}\n${table}`);
}

async function makeImages(directory, files, progress) {
  if (existsSync(directory)) return 'there already';
  mkdirSync(directory, { mode: 0o700 });
  const flags = files.filter((path) => USES_DEFAULT_IMAGE.test(path)).length > 1 ? ['--all'] : [];
  await capture([node, join(root, 'e2e/support/make-base-images.ts'), directory, ...flags], { progress });
}

/**
 * Compiles the programs with the official Go client, which comes through Go's module proxy. Their tests are left out where there is no Go to be had. Files of tests that run side by side
 * find the second as they would make it: none writes what another runs.
 */
async function buildGoPrograms(progress) {
  let toolchain;
  try {
    toolchain = await ensureGo(pinned.go, progress);
  } catch (error) {
    return { note: error.message.trim().split('\n').at(-1), missing: true };
  }
  const bin = join(localDir, 'bin');
  mkdirSync(bin, { recursive: true });
  const env = { ...toolchain.env, CGO_ENABLED: '0' };
  for (const [directory, name] of Object.entries(goPrograms)) {
    await capture([toolchain.go, 'build', '-C', join(root, directory), '-o', join(bin, name), '.'], {
      env,
      progress,
    });
  }
  // Tests build programs of their own with it, also where it is in no PATH.
  return { environment: { ...toolchain.env, PATH: `${dirname(toolchain.go)}:${process.env.PATH}` } };
}
