/** `skerry ls` and `skerry restart` with sandboxes of both worlds. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findExtraCaFile } from '../server/src/config/extra-ca.ts';
import { run } from '../server/src/platform/command.ts';
import { makeAuthority } from '../server/src/transport/issue-certificate.ts';
import { pythonWith } from './support/clients.ts';
import { runProgram } from './support/program.ts';
import { projectRoot, settledInventory } from './support/server.ts';
import { sharedDataDir } from './support/shared-data.ts';
import { noSmallDisk } from './support/small-disk.ts';

const fromModal = `
import modal
app = modal.App.lookup("command-line", create_if_missing=True)
image = modal.Image.from_registry("debian:bookworm-slim")
print(modal.Sandbox.create("sleep", "600", app=app, image=image, name="from-modal", tags={"world": "modal"}).object_id)
`;

const looking = `
import modal
app = modal.App.lookup("command-line")
print([sandbox.get_tags() and "from-modal" for sandbox in modal.Sandbox.list(app_id=app.app_id)])
try:
    modal.Sandbox.create("true", app=app, image=modal.Image.from_registry("debian:bookworm-slim"))
except Exception as error:
    print(type(error).__name__, error)
`;

const afterRestart = `
import modal
app = modal.App.lookup("command-line", create_if_missing=True)
image = modal.Image.debian_slim(python_version="3.11").pip_install("six", force_build=True)
sandbox = modal.Sandbox.create(app=app, image=image)
print(sandbox.exec("sh", "-c", "cat $SSL_CERT_FILE").stdout.read())
print(sandbox.exec("python", "-c", "import six; print('six', six.__version__)").stdout.read())
sandbox.terminate()
`;

const shared = await sharedDataDir();

describe('the command line beside the clients', () => {
  const home = mkdtempSync(join(tmpdir(), 'command-line-'));
  const dataDir = shared ?? join(home, 'data');
  /** What this machine's tools trust, and a certificate of the test's own. */
  const caFile = join(home, 'ca.pem');
  const plainShell = { PATH: process.env.PATH ?? '', HOME: home };
  const skerryWith = async (env: Record<string, string>, ...args: string[]) => {
    const result = await run(
      [process.execPath, join(projectRoot, 'cli/bin/skerry.mjs'), ...args, '--data-dir', dataDir],
      { env, timeoutMs: 180_000 },
    );
    return result.stdout;
  };
  const skerry = (...args: string[]) => skerryWith(plainShell, ...args);
  const listed = async () =>
    (await skerry('ls', '--json'))
      .split('\n')
      .filter(Boolean)
      .map(
        (line) =>
          JSON.parse(line) as {
            id: string;
            name: string;
            app: string;
            isolation: string;
            tags: Record<string, string>;
          },
      );
  let env: Record<string, string>;
  const made: string[] = [];

  before(async () => {
    const machines = findExtraCaFile(process.env);
    const validity = { notBefore: new Date(), notAfter: new Date(Date.now() + 86_400_000) };
    const { cert } = await makeAuthority('command line test', validity, undefined);
    writeFileSync(caFile, `${machines ? readFileSync(machines, 'utf8') : ''}\n${cert}`);
    const up = await skerryWith(
      { ...plainShell, NODE_EXTRA_CA_CERTS: caFile },
      ...['up', '--port', '0', '--json'],
    );
    const { url, pid, started } = JSON.parse(up);
    assert.equal(started, true);
    assert.deepEqual(JSON.parse(await skerry('up', '--json')), { ...JSON.parse(up), started: false });
    env = JSON.parse(await skerry('env', '--json'));
    assert.equal(JSON.parse(await skerry('status', '--json')).pid, pid);
    assert.equal(env.MODAL_SERVER_URL, url);
  });
  after(async () => {
    await skerry('down');
    assert.deepEqual(await settledInventory(dataDir), []);
    rmSync(home, { recursive: true, force: true });
  });

  test('`ls` shows what runs, whichever client made it, newest first', async () => {
    assert.equal(await skerry('ls'), 'No sandbox is running.\n');
    const python = await runProgram([pythonWith(), '-c', fromModal], {
      env: { PATH: process.env.PATH ?? '', HOME: home, ...env },
    });
    assert.equal(python.code, 0, python.stderr);
    const response = await fetch(`${env.MODBOX_API_URL}/modbox/v1/sandboxes`, {
      method: 'POST',
      headers: { authorization: `Bearer ${env.MODBOX_API_TOKEN}`, 'content-type': 'application/json' },
      body: JSON.stringify({ taskId: 'from-modbox', imageId: 'debian:bookworm-slim', ttlSeconds: 600 }),
    });
    assert.ok(response.ok, await response.text());
    const sandboxes = await listed();
    assert.deepEqual(
      sandboxes.map(({ app, name }) => [app, name]),
      [
        ['modbox', 'from-modbox'],
        ['command-line', 'from-modal'],
      ],
    );
    assert.equal(sandboxes[1]?.id, python.stdout.trim());
    made.push(...sandboxes.map(({ id }) => id));
    const checks = JSON.parse(await skerry('doctor', '--json')) as { name: string; found: string }[];
    const isolation = checks
      .find(({ name }) => name === 'isolation')
      ?.found.split(':')[0]
      ?.toLowerCase();
    assert.deepEqual(
      sandboxes.map((each) => each.isolation),
      [isolation, isolation],
      'what `doctor` says holds',
    );
    const found = (name: string) => checks.find((check) => check.name === name)?.found ?? '';
    assert.match(found('disk limits'), noSmallDisk ? /^none/ : /10240 MiB and 655360 files/);
    assert.match(found('copy on write'), /^(yes|no)\b/);
    const table = await skerry('ls');
    for (const id of made) assert.match(table, new RegExp(`^${id} `, 'm'));
  });

  test('a token that may look lists sandboxes and makes none', async () => {
    const create = ['token', 'create', '--scope', 'read', '--label', 'looks', '--expires', '1h', '--json'];
    const { tokenId, tokenSecret } = JSON.parse(await skerry(...create));
    const python = await runProgram([pythonWith(), '-c', looking], {
      env: { ...plainShell, ...env, MODAL_TOKEN_ID: tokenId, MODAL_TOKEN_SECRET: tokenSecret },
    });
    assert.equal(python.code, 0, python.stderr);
    assert.match(
      python.stdout,
      /^\['from-modal'\]\nPermissionDeniedError .* needs a token with the scope 'sandboxes'; this one has 'read'/,
    );
    assert.match(await skerry('token', 'list'), new RegExp(`^${tokenId}  read .*Z  - +looks$`, 'm'));
    assert.deepEqual(JSON.parse(await skerry('token', 'revoke', tokenId, '--json')), {
      tokenId,
      revoked: true,
    });
  });

  test('`warm` has sandboxes wait, and `status` shows them', async () => {
    assert.match(await skerry('warm', 'debian:bookworm-slim', '-n', '2', '--for', '2h'), /^[2-9] wait\.\n$/);
    await assert.rejects(skerry('warm', 'debian:bookworm-slim', '-n', '1001'), /too big|At most/i);
    const { warm } = JSON.parse(await skerry('status', '--json'));
    const [kind] = warm.filter(({ wanted }: { wanted: number }) => wanted >= 2);
    assert.ok(kind.waiting >= 2);
    assert.match(await skerry('status'), new RegExp(`^${kind.label} .* [2-9] +\\d+ +[2-9] `, 'm'));
  });

  test('`restart` changes the server under them and nothing else', async () => {
    const before = JSON.parse(await skerry('status', '--json'));
    const { url, pid } = JSON.parse(await skerry('restart', '--json'));
    assert.deepEqual([url, pid], [before.url, before.pid]);
    assert.match(await skerry('restart'), /is running again at/);
    const later = JSON.parse(await skerry('status', '--json'));
    assert.deepEqual([later.url, later.pid, later.sandboxes], [before.url, before.pid, 2]);
    assert.deepEqual(
      (await listed()).map(({ id }) => id),
      made,
    );
  });

  test('`up` from a plain shell trusts what the last server trusted: builds install, sandboxes have the certificates', async () => {
    const stopped = { dataDir, stopped: true, sandboxesEnded: true };
    assert.deepEqual(JSON.parse(await skerry('down', '--json')), stopped);
    assert.deepEqual(JSON.parse(await skerry('down', '--json')), { ...stopped, stopped: false });
    await skerry('up', '--port', '0');
    env = JSON.parse(await skerry('env', '--format', 'json'));
    const python = await runProgram([pythonWith(), '-c', afterRestart], {
      env: { ...plainShell, ...env },
    });
    assert.equal(python.code, 0, python.stderr);
    const certificates = readFileSync(caFile, 'utf8').match(/-----BEGIN CERTIFICATE-----[^-]+/g) ?? [];
    const last = certificates.at(-1)?.trim().replaceAll('\r', '');
    assert.ok(last && python.stdout.replaceAll('\r', '').includes(last), 'the certificate is in the bundle');
    assert.match(python.stdout, /^six \d/m);
  });
});
