/**
 * `npm run test:buckets`: buckets in sandboxes against a real S3 server, which it builds first. `npm test` leaves most of them out: building the server takes two minutes
 * of a processor, and the tests wait for what others wrote and for servers that do not answer.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { capture } from './lib/command.mjs';
import { ensureGo } from './lib/go.mjs';
import { pinned } from './lib/gvisor.mjs';
import { localDir } from './lib/paths.mjs';
import { runMain, SetupError, step } from './lib/step.mjs';
import { ensurePackages, testPackages } from './lib/system-packages.mjs';
import { runTests } from './lib/test-runner.mjs';
import { pythonClientVersions, setup, setupPythonClients } from './setup.mjs';

/** Apache 2.0; serves directories. */
const STORE = 'github.com/versity/versitygw/cmd/versitygw@v1.8.0';
const TIMEOUT_MS = 900_000;

await runMain(async () => {
  if (process.getuid?.() !== 0) throw new SetupError('Making sandboxes needs root.');
  await setup();
  await setupPythonClients(pythonClientVersions);
  await step('Packages for tests', (progress) => ensurePackages(testPackages, progress));
  const go = await step('S3 server', buildStore);
  const scratch = mkdtempSync(join(tmpdir(), 'buckets-'));
  try {
    const env = { ...go.env, SKERRY_E2E_DATA_DIR: join(scratch, 'data'), SKERRY_E2E_LANES: '1' };
    // The test of the Go client builds a program of its own.
    env.PATH = `${dirname(go.path)}:${process.env.PATH}`;
    return await runTests(['e2e/life/buckets.test.ts', ...process.argv.slice(2)], {
      timeoutMs: TIMEOUT_MS,
      env,
    });
  } finally {
    await step('Clean up', () => rmSync(scratch, { recursive: true, force: true }));
  }
});

async function buildStore(progress) {
  const { go: path, env } = await ensureGo(pinned.go, progress);
  const bin = join(localDir, 'bin');
  mkdirSync(bin, { recursive: true });
  await capture([path, 'install', STORE], { env: { ...env, GOBIN: bin, CGO_ENABLED: '0' }, progress });
  return { path, env, note: STORE };
}
