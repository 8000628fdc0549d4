/**
 * Nothing Skerry runs changes the machine's mounts, and what others do to them does not break it. systemd makes all mounts shared, and mmdebstrap from 1.5
 * on makes all mounts of its namespace private; here both happen in a mount namespace of the test's own, in which the whole test runs a second time.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { instanceName } from '../server/src/engines/oci/layout.ts';
import { SkerryError } from '../server/src/errors/skerry-error.ts';
import { baseEnvironment, run } from '../server/src/platform/command.ts';
import { findProgram } from '../server/src/platform/find-program.ts';
import { runPython } from './support/clients.ts';
import { inventory } from './support/inventory.ts';
import { definedEnvironment, projectRoot, startServer, type TestServer } from './support/server.ts';

/** Names the scratch directory, in the second run of this file. */
const INSIDE = 'E2E_IN_SHARED_MOUNTS';
const TEST_TIMEOUT_MS = 600_000;

/** Mounts with their propagation, as everybody on the machine sees them. */
const mounts = (): string[] => readFileSync('/proc/self/mountinfo', 'utf8').trim().split('\n').sort();

/** Nothing came or changed, and what went was somebody else's: its place on the machine is gone too (other servers run at the same time). */
function assertUnchanged(found: readonly string[], now: readonly string[]): void {
  assert.deepEqual(
    now.filter((line) => !found.includes(line)),
    [],
    'nothing new',
  );
  const gone = found.filter((line) => !now.includes(line));
  assert.deepEqual(
    gone.filter((line) => existsSync(line.split(' ')[4] ?? '')),
    [],
    'nothing of the machine is gone',
  );
}

/** A slot that the pool of a server does not reach in this test. */
const STRANDED_SLOT = 77;

const scratch = process.env[INSIDE] ?? mkdtempSync(join(tmpdir(), 'e2e-mounts-'));
const dataDir = join(scratch, 'data');
const stranded = `skerry-${instanceName(dataDir)}-${STRANDED_SLOT}`;

if (process.env[INSIDE] === undefined) {
  after(() => rmSync(scratch, { recursive: true, force: true }));

  test('in a mount namespace where everything is shared, as under systemd', async () => {
    // With it Node's test runner takes the second run for a part of this one, and runs nothing.
    const { NODE_TEST_CONTEXT: _, ...rest }: Record<string, string> = definedEnvironment();
    const env = { ...rest, [INSIDE]: scratch };
    // First all private, so that nothing of this reaches the machine; then shared among themselves.
    const result = await run(
      [
        ...(['unshare', '--mount', '--propagation', 'private', '--'] as const),
        ...['unshare', '--mount', '--propagation', 'shared', '--'],
        ...[process.execPath, '--test', '--test-reporter=spec', import.meta.filename],
      ],
      {
        env,
        timeoutMs: TEST_TIMEOUT_MS,
        okCodes: [1],
      },
    );
    assert.equal(result.code, 0, result.stdout + result.stderr);
    assert.match(result.stdout, /pass 2\n/, 'both tests ran');
  });
} else {
  describe('shared mounts', () => {
    let server: TestServer;

    before(async () => {
      // A /run of its own, as systemd has it; shared like what it is mounted on.
      await run(['mount', '-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', '/run']);
      const real = findProgram('mmdebstrap');
      assert.ok(real, 'mmdebstrap is installed');
      const bin = join(scratch, 'bin');
      await mkdir(bin);
      await writeFile(join(bin, 'mmdebstrap'), `#!/bin/sh\nmount --make-rprivate / && exec ${real} "$@"\n`);
      await chmod(join(bin, 'mmdebstrap'), 0o755);
      await mkdir(dataDir, { mode: 0o700 });
      process.env.PATH = [bin, process.env.PATH].join(delimiter);
    });
    test('a base, a build, sandboxes, a snapshot and the end of the server leave the mounts as they were', async () => {
      const found = mounts();
      assert.ok(
        found.every((line) => / shared:\d+ /.test(line)),
        'all mounts are shared, or this test could not fail',
      );
      server = await startServer({ dataDir });
      const result = await runPython(
        server,
        `
import modal
app = modal.App.lookup("e2e-mounts", create_if_missing=True)
image = modal.Image.from_registry("debian:bookworm-slim").run_commands("touch /built")
for _ in range(2):
    sb = modal.Sandbox.create(app=app, image=image)
    print(sb.exec("ls", "/built").stdout.read().strip())
    snapshot = sb.snapshot_filesystem()
    sb.terminate()
again = modal.Sandbox.create(app=app, image=snapshot)
print(again.exec("ls", "/built").stdout.read().strip())`,
      );
      assert.equal(result.code, 0, result.stderr + server.log());
      assert.deepEqual(result.stdout.split('\n'), ['/built', '/built', '/built']);
      const own = mounts().filter((line) => line.includes(`/run/skerry-${instanceName(dataDir)}`));
      assert.ok(own.length > 2, 'the running sandbox has mounts');
      assert.deepEqual(
        own.filter((line) => / shared:\d+ /.test(line)),
        [],
        'nobody else gets a copy of our mounts',
      );
      await server.kill9();
      await server.restart();
      const adopted = await runPython(
        server,
        `
import modal
app = modal.App.lookup("e2e-mounts")
[sb] = list(modal.Sandbox.list(app_id=app.app_id))
print(sb.exec("ls", "/built").stdout.read().strip())`,
      );
      assert.equal(adopted.stdout, '/built', adopted.stderr);
      await server.stop(); // asserts that nothing is left
      assertUnchanged(found, mounts());
    });

    test('what cannot be removed at start is put aside and told by doctor, and the server starts', async () => {
      server = await startServer({ dataDir });
      await server.terminate();
      // A namespace of an earlier Skerry, held under a shared /run, of which somebody made the copies private.
      await run(['ip', 'netns', 'add', stranded]);
      await run(['mount', '--make-rprivate', '/']);
      await assert.rejects(
        run(['ip', 'netns', 'del', stranded]),
        'it cannot be removed, or this test could not fail',
      );
      await server.restart();
      const doctor = await run(
        [
          process.execPath,
          join(projectRoot, 'cli/bin/skerry.mjs'),
          'doctor',
          '--json',
          '--data-dir',
          dataDir,
          '--port',
          new URL(server.url).port,
        ],
        { env: { ...baseEnvironment(), XDG_CONFIG_HOME: scratch }, okCodes: [1] },
      );
      const checks: { name: string; ok: boolean; found: string }[] = JSON.parse(doctor.stdout);
      const told = checks.find(({ name }) => name === 'leftovers');
      assert.equal(told?.ok, false);
      assert.match(told?.found ?? '', new RegExp(`network slot ${STRANDED_SLOT}: .*${stranded}`));
      await assert.rejects(server.stop(), (error: unknown) => {
        assert.ok(error instanceof SkerryError);
        assert.match(String(error.details.stderr), new RegExp(`Could not remove .*${stranded}`));
        return true;
      });
      const left = await inventory(dataDir);
      assert.deepEqual(
        left,
        [`mount nsfs /run/netns/${stranded}`, `netns ${stranded}`],
        'nothing else is left',
      );
    });
  });
}
