/** Connect tokens through the official clients, under each runtime. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { runPython } from '../support/clients.ts';
import { onceUnderRunc, runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { goCases, jsCases, pythonCases } from './support/cases.ts';

/** What the cases trust, which is nothing else. */
const caFile = (server: TestServer) => ({ LIFE_CA_FILE: join(server.dataDir, 'tls/ca.pem') });

const beforeRestart = `
import modal
app = modal.App.lookup("life", create_if_missing=True)
image = modal.Image.from_registry("python:3.11-slim")
sandbox = modal.Sandbox.create("python3", "-m", "http.server", "8080", app=app, image=image)
granted = sandbox.create_connect_token({"user": 1})
print(sandbox.object_id, granted.url, granted.token)
`;

/** Asks before anybody has the server do anything. */
const ask = (url: string, token: string) =>
  fetch(url, { headers: { authorization: `Bearer ${token}` } }).then(({ status }) => status);

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`connect tokens under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime, flags: ['--tunnel-wait-ms', '5000', '--log-level', 'debug'] });
    });
    // Asserts that nothing of them is left on the machine.
    after(() => server?.stop());

    test('in Python', (t) => pythonCases(t, server, 'connect', { env: caFile(server) }));
    // Before 1.5 a token had no port of its own.
    for (const version of ['1.3.5', '1.5.5']) {
      test(`in Python, client ${version}`, { skip: onceUnderRunc(runtime) }, (t) =>
        pythonCases(t, server, 'connect', {
          env: { ...caFile(server), PYTHONWARNINGS: 'ignore' },
          version,
          only: ['a_token_opens_the_default_port_with_its_metadata', 'a_token_in_the_query_becomes_a_cookie'],
        }),
      );
    }
    test('in JavaScript', { skip: onceUnderRunc(runtime) }, (t) => jsCases(t, server, 'connect'));
    test('in Go', { skip: onceUnderRunc(runtime) }, (t) =>
      goCases(t, server, { only: ['a connect token opens a port'] }),
    );

    test('URL and token are good when the server was killed and came back, and when it was restarted', async () => {
      const { stdout, stderr } = await runPython(server, beforeRestart);
      const [sandboxId = '', url = '', token = ''] = stdout.trim().split(' ');
      assert.match(url, /^http:/, stderr);
      assert.equal(await ask(url, token), 200);
      for (const restart of [
        () => server.kill9().then(() => server.restart()),
        () => server.restartGracefully(),
      ]) {
        await restart();
        assert.equal(await ask(url, token), 200);
        assert.equal(await ask(url, `${token}x`), 401);
      }
      const again = await runPython(
        server,
        `import modal; s = modal.Sandbox.from_id("${sandboxId}"); print(s.create_connect_token().url); s.terminate()`,
      );
      assert.equal(again.stdout.trim(), url, again.stderr);
      await assert.rejects(ask(url, token), 'with the sandbox its port is closed');
      assert.doesNotMatch(server.log(), /sct_/);
    });
  });
}
