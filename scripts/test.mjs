/**
 * All tests: `npm test [-- pattern ...]`. Installs what they need first; a pattern chooses the files whose path contains it.
 * End-to-end tests run some files at a time, each with a data directory of its own, which one file takes over from another: servers of different directories
 * share nothing on a machine. The base image that most tests use is made before.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { capture } from './lib/command.mjs';
import { ensureGo } from './lib/go.mjs';
import { findRunsc, pinned } from './lib/gvisor.mjs';
import { localDir, node, root } from './lib/paths.mjs';
import { runMain, step } from './lib/step.mjs';
import { ensurePackages, testPackages } from './lib/system-packages.mjs';
import { runTests } from './lib/test-runner.mjs';
import { ensureTools } from './lib/tools.mjs';
import { pythonClientVersions, setup, setupPythonClients } from './setup.mjs';

const unitDirs = ['server/src', 'cli/src', 'sdk/src', 'modbox-sdk/src', 'connect/src', 'scripts', 'bench'];
const e2eDirs = ['e2e'];
/** Files at once: more would measure the machine's patience. */
const E2E_LANES = 3;
/** Files that call programs of `tools/`, and run at the same time. */
const USES_TOOLS = /(^|\/)(sdk|mcp)\.test\.ts$/;
/** No test may take longer, and no suite of them; those that build images from packages need minutes. */
const TIMEOUT_MS = 900_000;

await runMain(async () => {
  const patterns = process.argv.slice(2);
  await setup();
  await setupPythonClients(pythonClientVersions);
  await step('Packages for tests', (progress) => ensurePackages(testPackages, progress));
  const skipped = [];
  const go = await step('Go example', buildGoExample);
  if (go.missing) skipped.push(`the Go client (${go.note})`);
  if (!(await findRunsc())) skipped.push('everything under gVisor (no runsc)');
  if (process.getuid?.() !== 0) skipped.push('everything that makes sandboxes (not root)');

  const units = testFiles(unitDirs, patterns);
  const e2e = process.getuid?.() === 0 ? testFiles(e2eDirs, patterns) : [];
  if (units.length + e2e.length === 0) {
    process.stderr.write(`No test file's path contains ${patterns.join(' or ')}.\n`);
    return 1;
  }
  if (e2e.some((path) => USES_TOOLS.test(path))) await step('Tools for tests', ensureTools);
  let failed = false;
  if (units.length > 0) failed = (await nodeTest(units, availableParallelism())) !== 0 || failed;
  if (e2e.length > 0) {
    const scratch = mkdtempSync(join(tmpdir(), 'e2e-'));
    try {
      const variables = { SKERRY_E2E_DATA_DIR: join(scratch, 'data'), SKERRY_E2E_LANES: E2E_LANES };
      if (e2e.length > E2E_LANES) {
        variables.SKERRY_E2E_BASE_DIR = join(scratch, 'base');
        await step('Base image', (progress) => makeBaseImage(variables.SKERRY_E2E_BASE_DIR, progress));
      }
      failed =
        (await nodeTest(e2e, E2E_LANES, { ...(go.environment ?? process.env), ...variables })) !== 0 ||
        failed;
    } finally {
      await step('Clean up', () => rmSync(scratch, { recursive: true, force: true }));
    }
  }
  for (const what of skipped) process.stderr.write(`Skipped: ${what}\n`);
  return failed ? 1 : 0;
});

function nodeTest(files, concurrency, variables = process.env) {
  // A shell in which `skerry env` was evaluated points every client at its server.
  const env = Object.fromEntries(
    Object.entries(variables).filter(([name]) => !/^(MODAL|MODBOX|SANDBOX)_/.test(name)),
  );
  return runTests(files, { timeoutMs: TIMEOUT_MS, concurrency, env });
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

async function makeBaseImage(directory, progress) {
  mkdirSync(directory, { mode: 0o700 });
  await capture([node, join(root, 'e2e/support/make-base-image.ts'), directory], { progress });
}

/** Compiles examples/go with the official Go client, which comes through Go's module proxy. Its tests are left out where there is no Go to be had. */
async function buildGoExample(progress) {
  let toolchain;
  try {
    toolchain = await ensureGo(pinned.go, progress);
  } catch (error) {
    return { note: error.message.trim().split('\n').at(-1), missing: true };
  }
  const bin = join(localDir, 'bin');
  mkdirSync(bin, { recursive: true });
  await capture([toolchain.go, 'build', '-o', join(bin, 'safe-code-execution-go'), '.'], {
    cwd: join(root, 'examples', 'go'),
    env: { ...toolchain.env, CGO_ENABLED: '0' },
    progress,
  });
  // Tests build programs of their own with it, also where it is in no PATH.
  return { environment: { ...toolchain.env, PATH: `${dirname(toolchain.go)}:${process.env.PATH}` } };
}
