/** Deleting an image takes nothing from the sandboxes that run on it, also when the server starts again. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { runPython } from '../support/clients.ts';
import { startServer, type TestServer } from '../support/server.ts';

let server: TestServer;
before(async () => {
  server = await startServer({ runtime: 'runc' });
});
after(() => server?.stop());

const python = async (source: string): Promise<string> => {
  const { code, stdout, stderr } = await runPython(server, `import modal\n${source}`);
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  return stdout.trim();
};

test('a sandbox outlives its deleted image over a restart, and can still be snapshotted', async () => {
  const id = await python(`
app = modal.App.lookup("deleted-image", create_if_missing=True)
first = modal.Sandbox.create(app=app, image=modal.Image.from_registry("python:3.11-slim"))
first.exec("sh", "-c", "echo kept > /kept").wait()
image = first.snapshot_filesystem()
first.terminate()
sandbox = modal.Sandbox.create("sleep", "600", app=app, image=image)
sandbox.exec("true").wait()
modal.experimental.image_delete(image.object_id)
print(sandbox.object_id)`);
  await server.restartGracefully();
  const found = await python(`
sandbox = modal.Sandbox.from_id("${id}")
assert sandbox.poll() is None
assert sandbox.exec("cat", "/kept").stdout.read() == "kept\\n"
again = modal.Sandbox.create(app=modal.App.lookup("deleted-image"), image=sandbox.snapshot_filesystem())
print(again.exec("cat", "/kept").stdout.read())
again.terminate()
sandbox.terminate()`);
  assert.equal(found, 'kept');
});
