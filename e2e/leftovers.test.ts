/** Nothing stays on the machine: after `terminate`, after a create that failed, after `down`, after a crash and `down`. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findExtraCaFile } from '../server/src/config/extra-ca.ts';
import { run } from '../server/src/platform/command.ts';
import { delay } from '../server/src/platform/wait.ts';
import { runPython } from './support/clients.ts';
import { inventory, isOfASandbox } from './support/inventory.ts';
import { runtimesToTest } from './support/runtimes.ts';
import { projectRoot, startServer, type TestServer } from './support/server.ts';
import { patient } from './support/slowness.ts';

const prelude = `
import modal
app = modal.App.lookup("e2e-leftovers", create_if_missing=True)
image = modal.Image.debian_slim(python_version="3.11")
`;

const ofSandboxes = async (dataDir: string): Promise<string[]> =>
  (await inventory(dataDir)).filter(isOfASandbox);

async function assertSettles(dataDir: string, what: string): Promise<void> {
  let left: string[] = [];
  for (let attempt = 0; attempt < 50; attempt++) {
    left = await ofSandboxes(dataDir);
    if (left.length === 0) return;
    await delay(100);
  }
  assert.deepEqual(left, [], what);
}

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`what stays on the machine under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime });
    });
    after(() => server?.stop()); // asserts that nothing at all is left

    test('a running sandbox is seen by this test, and gone after terminate', async () => {
      const created = await runPython(
        server,
        `${prelude}
sb = modal.Sandbox.create(app=app, image=image, name="seen")
sb.exec("true").wait()`,
      );
      assert.equal(created.code, 0, created.stderr);
      const seen = await ofSandboxes(server.dataDir);
      for (const kind of ['mount', 'cgroup', 'process']) {
        assert.ok(
          seen.some((line) => line.startsWith(`${kind} `)),
          `a ${kind} of the sandbox is in the inventory, or the test could not fail`,
        );
      }
      const ended = await runPython(
        server,
        'import modal; modal.Sandbox.from_name("e2e-leftovers", "seen").terminate(wait=True)',
      );
      assert.equal(ended.code, 0, ended.stderr);
      await assertSettles(server.dataDir, 'after terminate');
    });

    test('nothing stays of a sandbox whose entrypoint cannot be started', async () => {
      const result = await runPython(
        server,
        `${prelude}
try:
    modal.Sandbox.create("/no/such/program", app=app, image=image).wait()
except Exception as error:
    print(type(error).__name__)`,
      );
      assert.equal(result.code, 0, result.stderr);
      await assertSettles(server.dataDir, 'after a create that failed');
    });

    test('nothing stays of an image build that failed', async () => {
      const result = await runPython(
        server,
        `${prelude}
try:
    modal.Sandbox.create(app=app, image=image.run_commands("echo ${process.pid}-${Date.now()}; exit 7"))
except modal.exception.Error as error:
    print(type(error).__name__)`,
      );
      assert.equal(result.code, 0, result.stderr);
      await assertSettles(server.dataDir, 'after a build that failed');
    });

    test('a crashed server leaves sandboxes, the next start keeps them, `stop` ends them', async () => {
      const created = await runPython(
        server,
        `${prelude}
modal.Sandbox.create(app=app, image=image, name="survivor").exec("true").wait()`,
      );
      assert.equal(created.code, 0, created.stderr);
      await server.kill9();
      assert.notDeepEqual(await ofSandboxes(server.dataDir), []);
      await server.restart();
      const found = await runPython(
        server,
        'import modal; print(modal.Sandbox.from_name("e2e-leftovers", "survivor").exec("echo", "alive").stdout.read())',
      );
      assert.match(found.stdout, /alive/, found.stderr);
    });
  });
}

describe('skerry up and down', () => {
  const home = mkdtempSync(join(tmpdir(), 'updown-'));
  const dataDir = join(home, 'data');
  const ca = findExtraCaFile(process.env);
  const skerry = (...args: string[]) =>
    run([process.execPath, join(projectRoot, 'cli/bin/skerry.mjs'), ...args, '--data-dir', dataDir], {
      env: { PATH: process.env.PATH ?? '', HOME: home, ...(ca ? { SKERRY_EXTRA_CA_FILE: ca } : {}) },
      okCodes: [1, 2, 3],
      timeoutMs: patient(180_000),
    });

  const succeed = async (...args: string[]) => {
    const { code, stdout, stderr } = await skerry(...args);
    assert.equal(code, 0, `skerry ${args.join(' ')}:\n${stderr}`);
    return { stdout, stderr };
  };

  after(async () => {
    await skerry('down');
    rmSync(home, { recursive: true, force: true });
  });

  test('up is idempotent, status and env tell of the server, down leaves nothing', async () => {
    const up = await succeed('up', '--port', '0');
    assert.match(up.stdout, /is running at http:\/\/127\.0\.0\.1:\d+ /);
    const again = await succeed('up', '--port', '0');
    assert.equal(again.stderr, '');
    assert.match(again.stdout, /Already running/);
    const status = JSON.parse((await skerry('status', '--json')).stdout);
    assert.deepEqual([status.running, status.sandboxes], [true, 0]);
    const checks = JSON.parse((await skerry('doctor', '--json')).stdout) as { name: string; found: string }[];
    assert.equal(checks.find(({ name }) => name === 'resolver')?.found, `process ${status.resolver}`);
    const env = JSON.parse((await skerry('env', '--format', 'json')).stdout);
    assert.equal(env.MODAL_SERVER_URL, status.url);
    assert.notDeepEqual(await inventory(dataDir), []);
    await succeed('down');
    assert.deepEqual(await inventory(dataDir), []);
    assert.equal((await skerry('status')).code, 3);
  });

  test('down --keep keeps the token and what is on the machine, the resolver as it is, for the next up', async () => {
    await succeed('up', '--port', '0');
    const before = JSON.parse((await skerry('env', '--format', 'json')).stdout);
    const { resolver } = JSON.parse((await succeed('status', '--json')).stdout);
    await succeed('down', '--keep');
    await succeed('up', '--port', '0');
    assert.equal(JSON.parse((await succeed('status', '--json')).stdout).resolver, resolver);
    const later = JSON.parse((await skerry('env', '--format', 'json')).stdout);
    assert.equal(later.MODAL_TOKEN_SECRET, before.MODAL_TOKEN_SECRET);
    await succeed('down');
    assert.deepEqual(await inventory(dataDir), []);
  });
});
