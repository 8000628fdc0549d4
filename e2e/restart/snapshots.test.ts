/** What was mounted, and snapshots of ends, while the server dies and comes back, through the official client. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { defaultRunDir } from '../../server/src/engines/oci/layout.ts';
import { runPython } from '../support/clients.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';

const common = `
import modal
app = modal.App.lookup("life", create_if_missing=True)
image = modal.Image.from_registry("python:3.11-slim")
KEY = b"a key of the caller's"
EXIT_SNAPSHOT = {"enable_exit_snapshot": True}
def create(*args, **options):
    return modal.Sandbox.create(*args, **{"app": app, "image": image, **options})
def sh(sandbox, script):
    process = sandbox.exec("sh", "-c", script)
    out, err = process.stdout.read(), process.stderr.read()
    assert process.wait() == 0, err
    return out
`;

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`snapshots and a server that dies under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime });
    });
    after(() => server?.stop());

    const python = async (source: string): Promise<string> => {
      const { code, stdout, stderr } = await runPython(server, `${common}${source}`);
      assert.equal(code, 0, `${stdout}\n${stderr}`);
      return stdout.trim();
    };
    const killed = async () => {
      await server.kill9();
      await server.restart();
    };

    test('what is mounted stays, and can be unmounted', async () => {
      const id = await python(`
sandbox = create()
sh(sandbox, "mkdir /source /spot; echo mounted > /source/file; echo before > /spot/file; cp -r /spot /sealed")
sandbox.mount_image("/spot", sandbox.snapshot_directory("/source"))
sealed = sandbox.snapshot_directory("/source", _experimental_encryption_key=KEY)
sandbox.mount_image("/sealed", sealed, _experimental_encryption_key=KEY)
sh(sandbox, "echo more > /spot/more")
print(sandbox.object_id)`);
      await killed();
      const found = await python(`
sandbox = modal.Sandbox.from_id("${id}")
print(sh(sandbox, "cd /spot; cat file more /sealed/file"))
again = sandbox.snapshot_directory("/spot")
for path in "/spot", "/sealed": sandbox.unmount_image(path)
print(sh(sandbox, "cat /spot/file /sealed/file"))
sandbox.mount_image("/spot", again)
print(sh(sandbox, "cat /spot/more"))
sandbox.terminate()`);
      assert.deepEqual(found.split(/\n+/), ['mounted', 'more', 'mounted', 'before', 'before', 'more']);
    });

    test('an exit snapshot is taken of what ends meanwhile, and is still there later', async () => {
      const [stays, ends] = (
        await python(`
stays = create(experimental_options=EXIT_SNAPSHOT)
ends = create("sh", "-c", "until test -e /go; do sleep 0.1; done; sleep 2; echo ended > /left", experimental_options=EXIT_SNAPSHOT)
sh(stays, "echo stayed > /left")
sh(ends, "touch /go")
print(stays.object_id, ends.object_id)`)
      ).split(' ');
      await killed();
      await python(`
stays, ends = (modal.Sandbox.from_id(each) for each in ("${stays}", "${ends}"))
stays.terminate()
for each in (stays, ends): each._experimental_get_exit_snapshot()`);
      await killed();
      const found = await python(`
for name in "${stays} ${ends}".split():
    sandbox = create(image=modal.Sandbox.from_id(name)._experimental_get_exit_snapshot(timeout=0))
    print(sh(sandbox, "cat /left").strip())
    sandbox.terminate()`);
      assert.deepEqual(found.split('\n'), ['stayed', 'ended']);
    });

    test('one of a sandbox that died with the server is told as lost', async () => {
      const id = await python(`
sandbox = create(experimental_options=EXIT_SNAPSHOT)
sh(sandbox, "true")
print(sandbox.object_id)`);
      await server.kill9();
      killSandboxes(server.dataDir);
      await server.restart();
      await python(`
try:
    modal.Sandbox.from_id("${id}")._experimental_get_exit_snapshot()
    raise AssertionError("there is one")
except modal.exception.SnapshotCreationError as error:
    assert "no exit snapshot" in str(error), error`);
    });
  });
}

/** Kills the first process of everything that runs. */
function killSandboxes(dataDir: string): void {
  const bundles = join(defaultRunDir(dataDir), 't');
  for (const id of readdirSync(bundles)) {
    const record = JSON.parse(readFileSync(join(bundles, id, 'instance.json'), 'utf8'));
    process.kill(record.init.pid, 'SIGKILL');
  }
}
