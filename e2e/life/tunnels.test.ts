/** Tunnels through the official clients, under each runtime. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { goExample, runPython } from '../support/clients.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { goCases, jsCases, pythonCases } from './support/cases.ts';

/** What the cases trust, which is nothing else. */
const caFile = (server: TestServer) => ({ LIFE_CA_FILE: join(server.dataDir, 'tls/ca.pem') });

const beforeRestart = `
import modal
app = modal.App.lookup("life", create_if_missing=True)
image = modal.Image.from_registry("python:3.11-slim")
serve = ["python3", "-m", "http.server", "8000"]
sandbox = modal.Sandbox.create(*serve, app=app, image=image, encrypted_ports=[8000], unencrypted_ports=[8001])
tunnels = sandbox.tunnels()
print(sandbox.object_id, tunnels[8000].url, *tunnels[8001].tcp_socket)
`;

const afterRestart = (sandboxId: string, url: string, host: string, port: string) => `
import modal, os, ssl, urllib.request
url = "${url}"
# Before anybody asks the server for anything.
context = ssl.create_default_context(cafile=os.environ["LIFE_CA_FILE"])
assert urllib.request.urlopen(url, context=context).status == 200
tunnels = modal.Sandbox.from_id("${sandboxId}").tunnels()
assert tunnels[8000].url == url
assert tunnels[8001].tcp_socket == ("${host}", ${port})
`;

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`tunnels under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime, flags: ['--tunnel-wait-ms', '5000'] });
    });
    // Asserts that nothing of them is left on the machine.
    after(() => server?.stop());

    test('in Python', (t) => pythonCases(t, server, 'tunnels', { env: caFile(server) }));

    test('in JavaScript', (t) => {
      const trust = { NODE_EXTRA_CA_CERTS: caFile(server).LIFE_CA_FILE };
      return jsCases(t, server, 'tunnels', { env: trust });
    });
    test('in Go', { skip: goExample() === undefined ? 'no Go toolchain' : false }, (t) =>
      goCases(t, server, { env: caFile(server) }),
    );

    test('they are the same when the server was killed and came back, and when it was restarted', async () => {
      const { stdout, stderr } = await runPython(server, beforeRestart);
      const [sandboxId = '', url = '', host = '', port = ''] = stdout.trim().split(' ');
      assert.match(url, /^https:/, stderr);
      for (const restart of [
        () => server.kill9().then(() => server.restart()),
        () => server.restartGracefully(),
      ]) {
        await restart();
        const again = await runPython(server, afterRestart(sandboxId, url, host, port), {
          env: caFile(server),
        });
        assert.equal(again.code, 0, again.stderr);
      }
      await runPython(server, `import modal; modal.Sandbox.from_id("${sandboxId}").terminate()`);
    });
  });
}
