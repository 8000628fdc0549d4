/** Sidecars through the official clients, under each runtime. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { runJs, runPython } from '../support/clients.ts';
import { onceUnderRunc, runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

const javaScript = `
import assert from 'node:assert/strict';
import { ModalClient } from 'modal';
const modal = new ModalClient();
const app = await modal.apps.fromName('life-js', { createIfMissing: true });
const image = await modal.images.fromRegistry('python:3.11-slim').build(app);
const sandbox = await modal.sandboxes.create(app, image);
try {
  const sidecars = sandbox.experimentalSidecars;
  const serve = ['python3', '-m', 'http.server', '7003', '--bind', '127.0.0.1'];
  const sidecar = await sidecars.create('web', image, { command: serve, workdir: '/srv', env: { A: 'b' } });
  await sidecar.filesystem.writeText('from the sidecar', '/srv/index.html');
  const fetch = \`
import time, urllib.request
for attempt in range(100):
    try:
        print(urllib.request.urlopen("http://localhost:7003").read().decode())
        break
    except OSError:
        time.sleep(0.1)
\`;
  const fetched = await sandbox.exec(['python3', '-c', fetch]);
  assert.equal(await fetched.stdout.readText(), 'from the sidecar\\n');
  assert.equal(await (await sidecar.exec(['sh', '-c', 'echo $A; pwd'])).stdout.readText(), 'b\\n/srv\\n');
  assert.equal((await sidecars.get('web')).containerId, sidecar.containerId);
  assert.equal(await sidecar.poll(), null);
  assert.equal(await sidecar.terminate({ wait: true }), 137);
  assert.deepEqual(await sidecars.list(), []);
} finally {
  await sandbox.terminate();
}
`;

const beforeRestart = `
import modal
app = modal.App.lookup("life", create_if_missing=True)
image = modal.Image.from_registry("python:3.11-slim").build(app)
sandbox = modal.Sandbox.create("python3", "-m", "http.server", "7004", app=app, image=image)
sidecar = sandbox._experimental_sidecars.create("sleep", "infinity", name="helper", image=image)
process = sidecar.exec("sh", "-c", "echo before > /state; sleep infinity")
while sidecar.exec("test", "-e", "/state").wait(): pass
print(sandbox.object_id, sidecar.object_id)
`;

const afterRestart = (sandboxId: string, sidecarId: string) => `
import modal
sandbox = modal.Sandbox.from_id("${sandboxId}")
sidecar = sandbox._experimental_sidecars.get(name="helper")
assert sidecar.object_id == "${sidecarId}"
fetch = "import urllib.request; print(urllib.request.urlopen('http://localhost:7004').status)"
process = sidecar.exec("sh", "-c", f'cat /state; python3 -c "{fetch}"')
assert process.stdout.read() == "before\\n200\\n"
assert sidecar.poll() is None
sandbox.terminate(wait=True)
sidecar.wait(raise_on_termination=False)
assert sidecar.poll() == 137
`;

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`sidecars under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime });
    });
    // Asserts that nothing of them is left on the machine.
    after(() => server?.stop());

    test('in Python', (t) => pythonCases(t, server, 'sidecar_life'));
    test('in Python, created through the command router', { skip: onceUnderRunc(runtime) }, (t) =>
      pythonCases(t, server, 'sidecar_life', {
        env: { MODAL_USE_CONTROL_PLANE_SIDECAR_CREATE: '0' },
        only: ['localhost_reaches_both_ways', 'exec_in_a_sidecar', 'names'],
      }),
    );
    test('in JavaScript', { skip: onceUnderRunc(runtime) }, async () => {
      const { code, stderr } = await runJs(server, javaScript);
      assert.equal(code, 0, stderr);
    });

    test('they go on while the server is killed, and end with their sandbox after it came back', async () => {
      const { stdout, stderr } = await runPython(server, beforeRestart);
      const [sandboxId = '', sidecarId = ''] = stdout.trim().split(' ');
      assert.match(sidecarId, /^ta-/, stderr);
      await server.kill9();
      await server.restart();
      const again = await runPython(server, afterRestart(sandboxId, sidecarId));
      assert.equal(again.code, 0, again.stderr);
    });
  });
}
