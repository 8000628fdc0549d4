/**
 * Clients on another machine: with the package `skerry-connect`, installed there as its users install it, and without it. The other machine is a network
 * namespace; the server is started by `skerry up` on the cable's address.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { z } from 'zod';
import { findExtraCaFile } from '../server/src/config/extra-ca.ts';
import { run } from '../server/src/platform/command.ts';
import { makeAuthority, makeServerCertificate } from '../server/src/transport/issue-certificate.ts';
import { goCases, jsCases, pythonCases } from './life/support/cases.ts';
import { goExample, pythonWith } from './support/clients.ts';
import { type OtherMachine, startOtherMachine } from './support/other-machine.ts';
import { installPacked } from './support/packed.ts';
import { type ProgramResult, runProgram } from './support/program.ts';
import { projectRoot, settledInventory } from './support/server.ts';
import { sharedDataDir } from './support/shared-data.ts';

const noGo = goExample() === undefined ? 'no Go toolchain' : false;
const variablesSchema = z.record(z.string(), z.string());
const stateSchema = z.object({ pid: z.int() });
const madeSchema = z.object({
  tokenId: z.string(),
  tokenSecret: z.string(),
  url: z.string(),
  fingerprint: z.string(),
});

const uploading = `
import hashlib, sys, modal
app = modal.App.lookup("remote", create_if_missing=True)
image = modal.Image.from_registry("python:3.11-slim")
copied = image.add_local_file(sys.argv[1], "/root/copied", copy=True)
for each in (copied, image.add_local_file(sys.argv[1], "/root/mounted")):
    sandbox = modal.Sandbox.create(app=app, image=each)
    print(sandbox.exec("sh", "-c", "sha256sum /root/copied /root/mounted 2>/dev/null").stdout.read())
    sandbox.terminate()
`;

/** Prints a line in each half second, for ten seconds; the test kills the server after the third. */
const lines = 'import time\nfor n in range(20):\n    print(n, flush=True)\n    time.sleep(0.5)\n';

const streamingPython = `
import sys, modal
app = modal.App.lookup("remote", create_if_missing=True)
sandbox = modal.Sandbox.create(app=app, image=modal.Image.from_registry("python:3.11-slim"))
process = sandbox.exec("python3", "-c", ${JSON.stringify(lines)}, bufsize=1)
for line in process.stdout:
    print(line, end="", flush=True)
print(process.wait(), sandbox.exec("echo", "after").stdout.read(), end="")
sandbox.terminate()
`;

const streamingJs = `
import { ModalClient } from 'modal';
const modal = new ModalClient();
const app = await modal.apps.fromName('remote', { createIfMissing: true });
const sandbox = await modal.sandboxes.create(app, modal.images.fromRegistry('python:3.11-slim'));
const running = await sandbox.exec(['python3', '-c', ${JSON.stringify(lines)}]);
for await (const chunk of running.stdout) process.stdout.write(chunk);
const later = await sandbox.exec(['echo', 'after']);
console.log(await running.wait(), (await later.stdout.readText()).trim());
await sandbox.terminate();
`;

const shared = await sharedDataDir();

describe('clients on another machine', () => {
  const home = mkdtempSync(join(tmpdir(), 'remote-'));
  const dataDir = shared ?? join(home, 'data');
  const prefix = join(home, 'prefix');
  const PATH = `${join(prefix, 'bin')}:${process.env.PATH ?? ''}`;
  const baseEnv = { PATH, HOME: join(home, 'user'), PYTHONUNBUFFERED: '1' };
  let machine: OtherMachine;
  let made: z.infer<typeof madeSchema>;
  let secret: string;
  let connect: ChildProcess;
  let env: Record<string, string>;

  const skerry = async (...args: string[]) => {
    const ca = findExtraCaFile(process.env);
    const result = await run(
      [process.execPath, join(projectRoot, 'cli/bin/skerry.mjs'), ...args, '--data-dir', dataDir],
      {
        env: { PATH: process.env.PATH ?? '', HOME: home, ...(ca ? { SKERRY_EXTRA_CA_FILE: ca } : {}) },
        timeoutMs: 180_000,
      },
    );
    return result.stdout;
  };
  /** Runs a program on the other machine with the variables for clients. */
  const there = (
    argv: readonly string[],
    more: Readonly<Record<string, string>> = env,
  ): Promise<ProgramResult> =>
    runProgram(machine.inside(argv), {
      env: { ...baseEnv, ...more },
      cwd: join(projectRoot, 'e2e'),
      timeoutMs: 180_000,
    });
  /** The server's process, whichever one its supervisor has started last. */
  const serverPid = () => {
    const { pid } = stateSchema.parse(JSON.parse(readFileSync(join(dataDir, 'server.json'), 'utf8')));
    return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'));
  };
  const clients = () => ({ clientEnv: { ...baseEnv, ...env }, pid: serverPid() });
  const succeeded = ({ code, stdout, stderr }: ProgramResult) => {
    assert.equal(code, 0, `${stdout}\n${stderr}`);
    return stdout;
  };

  before(async () => {
    mkdirSync(baseEnv.HOME);
    machine = await startOtherMachine();
    await installPacked('connect', home, ['--global', '--prefix', prefix]);

    const { serverAddress, serverName } = machine;
    await skerry(
      'up',
      '--port',
      '0',
      '--host',
      serverAddress,
      '--tls-names',
      serverName,
      '--runtime',
      'runc',
    );
    const pasted = await skerry('token', 'create', '--label', 'other machine');
    const line = /^SKERRY_TOKEN=(\S+) skerry connect (https:\S+) --fingerprint (sha256:\S+)$/m.exec(pasted);
    assert.ok(line, pasted);
    const [command = '', token = '', url = '', fingerprint = ''] = line;
    secret = token;
    const [tokenId = '', tokenSecret = ''] = token.split(':');
    made = { tokenId, tokenSecret, url, fingerprint };

    // The line as it was printed, in a shell of the other machine.
    const [file, ...args] = machine.inside(['sh', '-c', `${command} --port 0 --format json & wait`]);
    connect = spawn(file, args, { env: baseEnv, stdio: ['ignore', 'pipe', 'inherit'], detached: true });
    assert.ok(connect.stdout);
    let printed = '';
    for await (const row of createInterface({ input: connect.stdout })) {
      printed += row;
      if (row === '}') break;
    }
    env = variablesSchema.parse(JSON.parse(printed));
  });
  after(async () => {
    if (connect?.pid) {
      process.kill(-connect.pid, 'SIGTERM');
      if (connect.exitCode === null && connect.signalCode === null) await once(connect, 'exit');
    }
    await skerry('down');
    await machine?.[Symbol.asyncDispose]();
    assert.deepEqual(await settledInventory(dataDir), []);
    rmSync(home, { recursive: true, force: true });
  });

  describe('with skerry connect', () => {
    const inside = (argv: readonly string[]) => machine.inside(argv);

    test('the variables lead to a port of that machine', () => {
      assert.match(env.MODAL_SERVER_URL ?? '', /^http:\/\/127\.0\.0\.1:\d+$/);
      assert.deepEqual([env.MODAL_TOKEN_ID, env.MODBOX_API_TOKEN], [made.tokenId, secret]);
      assert.ok(
        made.url.startsWith(`https://${machine.serverAddress}:`) || made.url.includes(machine.serverName),
      );
    });

    test('Python', (t) =>
      pythonCases(t, clients(), 'core', {
        inside,
        only: [
          'create_exec_and_terminate',
          'an_entrypoint_runs_and_ends',
          'input_goes_to_an_exec',
          'a_line_comes_while_the_program_still_runs',
          'a_few_megabytes_come_whole',
        ],
      }));

    test('a Python that insists on TLS to the command router', (t) =>
      pythonCases(t, clients(), 'core', { inside, version: '1.3.5', only: ['create_exec_and_terminate'] }));

    test('JavaScript', (t) =>
      jsCases(t, clients(), 'life', {
        inside,
        only: ['workdir, environment and secrets', 'a line comes while the program still runs'],
      }));

    test('Go', { skip: noGo }, (t) =>
      goCases(t, clients(), {
        inside,
        only: [
          'streams, exit code, workdir, environment and secrets',
          'a line comes while the program still runs',
        ],
      }),
    );

    test('files that an image takes from that machine, larger than one message', async () => {
      const file = join(home, 'upload');
      const content = Buffer.alloc(9 << 20, 'local bytes ');
      writeFileSync(file, content);
      const digest = createHash('sha256').update(content).digest('hex');
      const stdout = succeeded(await there([pythonWith(), '-c', uploading, file]));
      assert.deepEqual(stdout.match(/^\S+ +\/root\/\w+$/gm), [
        `${digest}  /root/copied`,
        `${digest}  /root/mounted`,
      ]);
    });

    test('the modal command', async () => {
      const modal = [pythonWith(), '-m', 'modal'];
      const listed = JSON.parse(succeeded(await there([...modal, 'app', 'list', '--json'])));
      assert.ok(listed.length > 0);
      succeeded(await there([...modal, 'secret', 'create', '--force', 'remote', 'KEY=value']));
      assert.match(succeeded(await there([...modal, 'secret', 'list'])), /remote/);
    });

    test('the REST interface, whose URLs lead through the same port', async () => {
      const body = JSON.stringify({ taskId: 'from-afar', imageId: 'python:3.11-slim', ttlSeconds: 300 });
      const curl = (...args: string[]) =>
        there(['curl', '--silent', '--show-error', '--header', `authorization: Bearer ${secret}`, ...args]);
      const json = ['--header', 'content-type: application/json', '--data'];
      const sandbox = z
        .object({ sandboxUrl: z.string(), apiKey: z.string() })
        .parse(JSON.parse(succeeded(await curl(...json, body, `${env.MODBOX_API_URL}/modbox/v1/sandboxes`))));
      assert.ok(sandbox.sandboxUrl.startsWith(`${env.MODBOX_API_URL}/sandboxes/`), sandbox.sandboxUrl);
      const destroyed = await curl(
        '--request',
        'DELETE',
        `${env.MODBOX_API_URL}/modbox/v1/sandboxes/from-afar`,
      );
      succeeded(destroyed);
    });

    for (const [client, argv] of [
      ['Python', () => [pythonWith(), '-c', streamingPython]],
      ['JavaScript', () => [process.execPath, '--input-type=module', '-e', streamingJs]],
    ] as const) {
      test(`${client}: the server is killed while output streams`, async () => {
        const [file, ...args] = machine.inside(argv());
        const child = spawn(file, args, {
          env: { ...baseEnv, ...env },
          cwd: join(projectRoot, 'e2e'),
          stdio: ['ignore', 'pipe', 'pipe'],
          timeout: 120_000,
        });
        const stderr = text(child.stderr);
        const seen: string[] = [];
        for await (const line of createInterface({ input: child.stdout })) {
          seen.push(line);
          if (line === '2') process.kill(serverPid(), 'SIGKILL'); // the supervisor starts it again
        }
        assert.deepEqual(seen, [...Array.from({ length: 20 }, (_, n) => String(n)), '0 after'], await stderr);
      });
    }

    test('a command behind -- has the variables, and its end is the end', async () => {
      const { url, fingerprint } = made;
      const result = await there(
        [
          'skerry',
          'connect',
          url,
          '--fingerprint',
          fingerprint,
          '--port',
          '0',
          '--',
          'sh',
          '-c',
          'echo $MODAL_TOKEN_ID$SKERRY_TOKEN; exit 7',
        ],
        { SKERRY_TOKEN: secret },
      );
      assert.deepEqual([result.code, result.stdout], [7, made.tokenId], result.stderr);
    });

    test('refuses a server with another key, a wrong token, and what it cannot know', async () => {
      const { url, fingerprint } = made;
      const attempt = (args: readonly string[], token = secret) =>
        there(['skerry', 'connect', ...args], { SKERRY_TOKEN: token });
      const other = `sha256:${'0'.repeat(64)}`;
      const imposter = await attempt([url, '--fingerprint', other]);
      assert.equal(imposter.code, 1);
      assert.ok(imposter.stderr.includes(other) && imposter.stderr.includes(fingerprint), imposter.stderr);
      const wrong = await attempt([url, '--fingerprint', fingerprint], `${secret.slice(0, -1)}x`);
      assert.match(wrong.stderr, /does not know this token/);
      assert.match((await attempt([url])).stderr, /not trusted here.*\n.*--fingerprint/);
      const nowhere = await attempt([`https://${machine.serverAddress}:1`, '--fingerprint', fingerprint]);
      assert.match(nowhere.stderr, /Nothing listens at/);
      assert.equal((await attempt([`https://${secret}@${machine.serverAddress}`])).code, 2);
    });
  });

  describe('without skerry connect', () => {
    const inside = (argv: readonly string[]) => machine.inside(argv);
    const ca = () => join(dataDir, 'tls/ca.pem');
    const direct = () => {
      const url = `https://${machine.serverName}:${new URL(made.url).port}`;
      return {
        ...env,
        MODAL_SERVER_URL: url,
        MODBOX_API_URL: url,
      };
    };
    const directly = (more: Readonly<Record<string, string>>) => ({
      clientEnv: { ...baseEnv, ...direct(), ...more },
      pid: serverPid(),
    });
    const only = ['workdir, environment and secrets'];

    test('JavaScript, told of the authority by GRPC_DEFAULT_SSL_ROOTS_FILE_PATH', (t) =>
      jsCases(t, directly({ GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: ca() }), 'life', { inside, only }));

    test('Go, told of the authority by SSL_CERT_FILE', { skip: noGo }, (t) =>
      goCases(t, directly({ SSL_CERT_FILE: ca() }), {
        inside,
        only: ['streams, exit code, workdir, environment and secrets'],
      }),
    );

    test('Python, whose authorities are those of certifi', (t) => {
      // Stands for a public authority: a bundle that has it.
      const package_ = join(home, 'python/certifi');
      mkdirSync(package_, { recursive: true });
      writeFileSync(join(package_, '__init__.py'), `def where(): return ${JSON.stringify(ca())}\n`);
      const env = { PYTHONPATH: join(home, 'python'), SSL_CERT_FILE: ca() };
      return pythonCases(t, directly(env), 'core', { inside, only: ['create_exec_and_terminate'] });
    });

    test('curl with --cacert; and no plaintext', async () => {
      const { MODBOX_API_URL } = direct();
      const health = await there([
        'curl',
        '--silent',
        '--show-error',
        '--cacert',
        ca(),
        `${MODBOX_API_URL}/healthz`,
      ]);
      assert.equal(JSON.parse(succeeded(health)).status, 'ok');
      const plain = await there([
        'curl',
        '--silent',
        '--show-error',
        `${MODBOX_API_URL.replace('https', 'http')}/healthz`,
      ]);
      assert.match(plain.stdout, /Use https/);
    });
  });

  test('a revoked token opens nothing any more', async () => {
    assert.match(await skerry('token', 'list'), new RegExp(`^${made.tokenId} .* other machine$`, 'm'));
    await skerry('token', 'revoke', made.tokenId);
    const result = await there(['skerry', 'connect', made.url, '--fingerprint', made.fingerprint], {
      SKERRY_TOKEN: secret,
    });
    assert.match(result.stderr, /does not know this token/);
  });

  test('with a certificate of the operator `skerry env` prints its name, by which other machines reach the server', async () => {
    const [certFile, keyFile] = ['cert', 'key'].map((name) => join(home, `${name}.pem`));
    assert.ok(certFile && keyFile);
    const validity = {
      notBefore: new Date(Date.now() - 86_400_000),
      notAfter: new Date(Date.now() + 86_400_000),
    };
    const authority = await makeAuthority('Authority of a test', validity, undefined);
    const { cert, key } = await makeServerCertificate(authority, [machine.serverName], validity, undefined);
    writeFileSync(certFile, cert);
    writeFileSync(keyFile, key);
    const caFile = join(home, 'authority.pem');
    writeFileSync(caFile, authority.cert);
    await skerry('down', '--keep');
    const tls = ['--tls-cert-file', certFile, '--tls-key-file', keyFile];
    await skerry('up', '--port', '0', '--host', machine.serverAddress, '--runtime', 'runc', ...tls);
    const variables = variablesSchema.parse(JSON.parse(await skerry('env', '--format', 'json')));
    const url = variables.MODAL_SERVER_URL ?? '';
    assert.match(url, new RegExp(`^https://${machine.serverName}:\\d+$`));
    const health = ['curl', '--silent', '--show-error', '--cacert', caFile, `${url}/healthz`];
    assert.equal(JSON.parse(succeeded(await there(health))).status, 'ok');
    const pasted = await skerry('token', 'create');
    assert.match(pasted, new RegExp(`skerry connect ${url} --fingerprint sha256:`));
    const token = /^SKERRY_TOKEN=(\S+)/m.exec(pasted)?.[1] ?? '';
    const connect = ['skerry', 'connect', url, '--ca-file', caFile, '--port', '0', '--', 'true'];
    succeeded(await there(connect, { SKERRY_TOKEN: token }));
  });
});
