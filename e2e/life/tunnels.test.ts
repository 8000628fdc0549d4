/** Tunnels through the official clients, under each runtime. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '../../server/src/platform/command.ts';
import { freePort } from '../../server/src/platform/testing/free-port.ts';
import { delay } from '../../server/src/platform/wait.ts';
import { goExample, runPython } from '../support/clients.ts';
import { onceUnderRunc, runtimesToTest } from '../support/runtimes.ts';
import { projectRoot, startServer, type TestServer } from '../support/server.ts';
import { goCases, jsCases, pythonCases } from './support/cases.ts';

const cli = join(projectRoot, 'cli/bin/skerry.mjs');

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

    test('in JavaScript', { skip: onceUnderRunc(runtime) }, (t) => {
      const trust = { NODE_EXTRA_CA_CERTS: caFile(server).LIFE_CA_FILE };
      return jsCases(t, server, 'tunnels', { env: trust });
    });
    test('in Go', { skip: goExample() === undefined ? 'no Go toolchain' : onceUnderRunc(runtime) }, (t) =>
      goCases(t, server, { env: caFile(server) }),
    );

    for (const version of ['1.0.5', '1.3.5', '1.5.5']) {
      test(`in Python, client ${version}`, { skip: onceUnderRunc(runtime) }, (t) =>
        pythonCases(t, server, 'tunnels', {
          env: { ...caFile(server), PYTHONWARNINGS: 'ignore' },
          version,
          only: ['several_ports_and_a_port_of_several_kinds', 'without_a_server_there_is_a_reason'],
        }),
      );
    }

    test('they stay when the server is killed and when it is restarted: who connects meanwhile waits, and nobody else gets the port', async () => {
      const { stdout, stderr } = await runPython(server, beforeRestart);
      const [sandboxId = '', url = '', host = '', port = ''] = stdout.trim().split(' ');
      assert.match(url, /^https:/, stderr);
      const ca = readFileSync(caFile(server).LIFE_CA_FILE);
      const sameAfterwards = async () => {
        const again = await runPython(server, afterRestart(sandboxId, url, host, port), {
          env: caFile(server),
        });
        assert.equal(again.code, 0, again.stderr);
      };

      await server.kill9();
      assert.equal(await canListen(host, Number(port)), false);
      assert.equal(await canListen(host, Number(new URL(url).port)), false);
      const waiting = httpsStatus(url, { ca });
      await server.restart();
      assert.equal(await waiting, 200);
      await sameAfterwards();
      await server.restartGracefully();
      await sameAfterwards();

      await runPython(server, `import modal; modal.Sandbox.from_id("${sandboxId}").terminate()`);
      while (!(await canListen(host, Number(port)))) await delay(50); // the supervisor lets go of it
    });
  });
}

/** Whether another program could have a port. */
async function canListen(host: string, port: number): Promise<boolean> {
  const server = net.createServer().listen(port, host);
  try {
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}

const httpsStatus = (url: string, options: https.RequestOptions): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    https
      .get(url, { ...options, agent: false }, (answer) => resolve(answer.resume().statusCode))
      .on('error', reject);
  });

function addressOf(server: net.Server): net.AddressInfo {
  const address = server.address();
  assert.ok(address && typeof address === 'object');
  return address;
}

describe('tunnels of a domain', () => {
  const domain = 'tunnels.example';
  let server: TestServer;
  /** Passes bytes on to the port that the server listens on, as a proxy does that leaves TLS alone. */
  let proxy: net.Server;
  before(async () => {
    const tunnelPort = await freePort();
    proxy = net.createServer((client) => {
      const onward = net.connect(tunnelPort, '127.0.0.1');
      client.on('error', () => onward.destroy()).pipe(onward);
      onward.on('error', () => client.destroy()).pipe(client);
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const { port } = addressOf(proxy);
    const flags = [
      `--tunnel-domain=${domain}`,
      `--tunnel-port=${tunnelPort}`,
      `--tunnel-public-port=${port}`,
    ];
    server = await startServer({ runtime: 'runc', flags });
  });
  after(async () => {
    proxy?.close();
    await server?.stop();
  });

  test('are reached by name, with the authority that `skerry ca show` prints, also after a crash', async () => {
    const { stdout, stderr } = await runPython(server, beforeRestart);
    const [sandboxId = '', url = ''] = stdout.trim().split(' ');
    const { hostname, port } = new URL(url);
    assert.match(hostname, /^[a-z2-7]{32}\.tunnels\.example$/, stderr);
    const shown = await run([process.execPath, cli, 'ca', 'show', '--data-dir', server.dataDir]);
    const status = (name: string) =>
      httpsStatus(`https://127.0.0.1:${port}`, {
        ...{ servername: name, ca: shown.stdout },
        headers: { host: name },
      });
    assert.equal(await status(hostname), 200);
    assert.equal(await status(`other.${domain}`), 404);
    await server.kill9();
    const waiting = status(hostname);
    await server.restart();
    assert.equal(await waiting, 200);
    await runPython(server, `import modal; modal.Sandbox.from_id("${sandboxId}").terminate()`);
    assert.equal(await status(hostname), 404);
  });
});
