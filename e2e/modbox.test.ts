/** The Modbox REST interface against real sandboxes. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { ModboxClient, type SandboxConnection, SandboxEndedError } from '../modbox-sdk/src/index.ts';
import { Limiter } from '../server/src/platform/limiter.ts';
import { delay } from '../server/src/platform/wait.ts';
import { runPython } from './support/clients.ts';
import { inventory, isOfASandbox } from './support/inventory.ts';
import { startServer, type TestServer } from './support/server.ts';
import { patient } from './support/slowness.ts';

const EXECUTIONS = 150;

let server: TestServer;
let modbox: ModboxClient;

before(async () => {
  server = await startServer();
  modbox = new ModboxClient({ token: server.clientEnv.MODBOX_API_TOKEN, baseUrl: server.url });
});
after(() => server?.stop()); // asserts that nothing is left

/** A running sandbox that is destroyed when the scope ends. */
async function provision(definition: Omit<Parameters<ModboxClient['provisionSandbox']>[0], 'taskId'> = {}) {
  const taskId = `e2e-${randomUUID()}`;
  await modbox.provisionSandbox({ taskId, ...definition });
  const sandbox = await modbox.waitForSandbox({ taskId, timeout: patient(60) });
  return {
    taskId,
    sandbox,
    connection: modbox.connect(sandbox),
    [Symbol.asyncDispose]: async () => void (await modbox.destroySandbox({ taskId })),
  };
}

async function output(connection: SandboxConnection, argv: string[], stdin?: string): Promise<string> {
  const { exitCode, stdout, stderr } = await connection.exec({ argv, stdin });
  assert.equal(exitCode, 0, stderr);
  return stdout.trim();
}

/** Retries until the condition holds, for a generous time, since machines differ. */
async function eventually(condition: () => Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + patient(20_000);
  while (!(await condition())) {
    assert.ok(performance.now() < end, `did not happen: ${what}`);
    await delay(200);
  }
}

describe('the default image', () => {
  test('has python3, node, bash and go run, in the versions that the API names', async () => {
    await using made = await provision();
    const { status, languages, imageId } = await modbox.getDefaultImage();
    assert.equal(status, 'ready');
    assert.equal(imageId, made.sandbox.imageId);
    const version = (name: string) => languages.find((language) => language.name === name)?.version ?? '';
    const { connection } = made;
    assert.equal(
      await output(connection, ['python3', '-c', 'import platform; print(platform.python_version())']),
      version('Python'),
    );
    assert.equal(await output(connection, ['node', '-p', 'process.versions.node']), version('Node'));
    assert.match(version('Node'), /^22\./);
    const bash = await output(connection, ['bash', '-c', 'echo $BASH_VERSION']);
    assert.equal(bash.split('(')[0], version('Bash'));
    assert.match(version('Bash'), /^5\.2/);
    await connection.writeFile(
      '/work/main.go',
      'package main\n\nimport (\n\t"fmt"\n\t"runtime"\n)\n\nfunc main() { fmt.Print(runtime.Version()) }\n',
    );
    assert.equal(await output(connection, ['go', 'run', '/work/main.go']), `go${version('Go')}`);
    assert.match(version('Go'), /^1\.23\./);
    assert.match(version('Python'), /^3\.12\./);
  });

  test('installs packages that stay for the session', async () => {
    await using made = await provision();
    await output(made.connection, ['pip', 'install', '--quiet', 'six']);
    assert.match(
      await output(made.connection, ['python3', '-c', 'import six; print(six.__version__)']),
      /^1\./,
    );
  });
});

describe('a session', () => {
  test('keeps files and background servers from exec to exec', async () => {
    await using made = await provision();
    const { connection } = made;
    await output(connection, ['sh', '-c', 'echo kept > /tmp/kept']);
    const started = await connection.startProcess({
      argv: ['python3', '-u', '-m', 'http.server', '8000', '--directory', '/tmp'],
    });
    const get = 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:8000/kept").read().decode())';
    await eventually(async () => {
      const { exitCode, stdout } = await connection.exec({ argv: ['python3', '-c', get] });
      return exitCode === 0 && stdout.trim() === 'kept';
    }, 'the background server answers');
    const logs = await connection.processLogs(started.processId);
    assert.match(logs.stdout + logs.stderr, /GET \/kept/);
    await connection.killProcess(started.processId);
    await eventually(
      async () => (await connection.listProcesses()).every(({ status }) => status === 'exited'),
      'the killed server exits',
    );
  });

  test('returns from a command that leaves a server in the background', async () => {
    await using made = await provision();
    const { exitCode, stdout } = await made.connection.exec({ command: 'sleep 300 & echo started' });
    assert.deepEqual([exitCode, stdout], [0, 'started\n']);
    assert.match(
      await output(made.connection, ['sh', '-c', 'cat /proc/[0-9]*/cmdline | tr "\\0" " "']),
      /sleep 300/,
    );
  });

  test('never sees another: files, processes, network', async () => {
    await using one = await provision();
    await using two = await provision();
    const marker = `marker-${randomUUID()}`;
    await one.connection.writeFile('/tmp/secret', marker);
    await one.connection.startProcess({
      argv: ['python3', '-m', 'http.server', '8000', '--directory', '/tmp'],
    });
    const address = await output(one.connection, ['hostname', '-I']);
    const get = (host: string) =>
      `import urllib.request as u; print(u.urlopen("http://${host}:8000/secret", timeout=3).read().decode())`;
    await eventually(
      async () =>
        (await one.connection.exec({ argv: ['python3', '-c', get(address)] })).stdout.includes(marker),
      'the server answers its own sandbox at its address',
    );
    const across = await two.connection.exec({ argv: ['python3', '-c', get(address)] });
    assert.notEqual(across.exitCode, 0, 'it must not answer another sandbox');
    await assert.rejects(two.connection.readFile('/tmp/secret'), { name: 'NotFoundError' });
    const processes = await output(two.connection, ['sh', '-c', 'cat /proc/[0-9]*/cmdline | tr "\\0" " "']);
    assert.doesNotMatch(processes, /http\.server/);
    const foreign = modbox.connect({ sandboxUrl: two.sandbox.sandboxUrl, apiKey: one.sandbox.apiKey });
    await assert.rejects(foreign.exec({ argv: ['true'] }), { name: 'PermissionDeniedError', status: 403 });
  });

  test('files go in and out byte for byte', async () => {
    await using made = await provision();
    const { connection } = made;
    const bytes = crypto.getRandomValues(new Uint8Array(65_536));
    await connection.writeFile('/data/ü & co/bytes', bytes);
    assert.deepEqual(await connection.readFile('/data/ü & co/bytes'), bytes);
    const big = new Uint8Array(8 << 20).fill(7);
    await connection.writeFile('/data/big', big);
    assert.equal(await output(connection, ['wc', '-c', '/data/big']), `${big.length} /data/big`);
    assert.equal((await connection.readFile('/data/big')).length, big.length);
    const entries = await connection.listFiles('/data');
    assert.deepEqual(
      entries.map(({ name, type, size }) => [name, type, type === 'file' ? size : 0]),
      [
        ['big', 'file', big.length],
        ['ü & co', 'directory', 0],
      ],
    );
    await assert.rejects(connection.readFile('/data'), { name: 'ConflictError', status: 409 });
    await assert.rejects(connection.deleteFile('/data'), { name: 'ConflictError' });
    await connection.deleteFile('/data', { recursive: true });
    await assert.rejects(connection.listFiles('/data'), { name: 'NotFoundError' });
  });
});

describe('deadlines', () => {
  test('one that passes while an exec runs is told to the caller, in both forms', async () => {
    await using made = await provision({ ttlSeconds: 3 });
    const stream = (async () => {
      for await (const event of made.connection.execStream({ argv: ['sleep', '60'] }))
        assert.fail(event.type);
    })();
    const ended = (error: unknown) => {
      assert.ok(error instanceof SandboxEndedError, String(error));
      assert.equal(error.reason, 'timeout');
      assert.match(error.message, /while the command ran.*deadline/);
      return true;
    };
    await Promise.all([
      assert.rejects(made.connection.exec({ argv: ['sleep', '60'] }), ended),
      assert.rejects(stream, ended),
    ]);
    assert.equal((await modbox.getSandbox(made.taskId)).endReason, 'timeout');
  });

  test('an idle one waits for a running command, then ends the sandbox', async () => {
    await using made = await provision({ ttlSeconds: 2, ttlMode: 'idle' });
    assert.equal(await output(made.connection, ['sh', '-c', 'sleep 5; echo done']), 'done');
    await eventually(
      async () => (await modbox.getSandbox(made.taskId)).endReason === 'idle-timeout',
      'the sandbox ends by idling',
    );
  });
});

test('a crash of the server loses no session, nor what it was defined as', async () => {
  const definition = { taskId: `crash-${randomUUID()}`, envVars: { A: 'one' }, ttlSeconds: 600 };
  const made = await modbox.provisionSandbox(definition);
  try {
    const connection = modbox.connect(await modbox.waitForSandbox({ taskId: definition.taskId }));
    await connection.writeFile('/kept', 'kept');
    const { processId } = await connection.startProcess({ command: 'echo before; sleep 300' });
    await eventually(
      async () => (await connection.processLogs(processId)).stdout === 'before\n',
      'it says so',
    );
    await server.kill9();
    await server.restart();
    const again = await modbox.provisionSandbox(definition);
    assert.equal(again.sandboxId, made.sandboxId);
    assert.equal(again.apiKey, made.apiKey);
    await assert.rejects(modbox.provisionSandbox({ ...definition, envVars: { A: 'two' } }), {
      name: 'ConflictError',
      differs: ['envVars'],
    });
    assert.equal(await connection.readTextFile('/kept'), 'kept');
    assert.equal(await output(connection, ['sh', '-c', 'echo $A']), 'one');
    const [process] = await connection.listProcesses();
    assert.deepEqual([process?.processId, process?.status], [processId, 'running']);
    assert.equal((await connection.processLogs(processId)).stdout, 'before\n');
  } finally {
    await modbox.destroySandbox({ taskId: definition.taskId });
  }
});

describe('both worlds', () => {
  test("a Modbox sandbox is found, listed and exec'd by the official Python client", async () => {
    await using made = await provision({ envVars: { FROM: 'modbox' } });
    const { code, stdout, stderr } = await runPython(
      server,
      `
import modal
app = modal.App.lookup("modbox")
print("${made.sandbox.sandboxId}" in [sb.object_id for sb in modal.Sandbox.list(app_id=app.app_id)])
sb = modal.Sandbox.from_id("${made.sandbox.sandboxId}")
print(sb.exec("sh", "-c", "echo $FROM").stdout.read().strip())
print(modal.Sandbox.from_name("modbox", "${made.taskId}").object_id == sb.object_id)
`,
    );
    assert.equal(code, 0, stderr);
    assert.deepEqual(stdout.split('\n'), ['True', 'modbox', 'True']);
  });

  test('a port is reached by its tunnel, and with a token by one that nobody named', async () => {
    await using made = await provision({ ports: [{ port: 8000, plain: true }] });
    const { connection } = made;
    await connection.writeFile('/www/hello.txt', 'hello');
    for (const port of ['8000', '8080']) {
      await connection.startProcess({ argv: ['python3', '-m', 'http.server', '--directory', '/www', port] });
    }
    const [tunnel] = await connection.tunnels();
    assert.ok(tunnel?.plain);
    const { host, port } = tunnel.plain;
    assert.equal(await (await fetch(`http://${host}:${port}/hello.txt`)).text(), 'hello');
    const { url, token } = await connection.createConnectToken({ userMetadata: { user: 1 } });
    const page = await fetch(`${url}/hello.txt?_modal_connect_token=${token}`);
    assert.deepEqual([page.status, await page.text()], [200, 'hello']);
    assert.equal((await fetch(`${url}/hello.txt`)).status, 401);
  });

  test('a volume that a Modbox sandbox writes in is read and mounted by the official Python client', async () => {
    const volume = `modbox-${randomUUID()}`;
    await using made = await provision({ volumes: { '/data': volume } });
    await made.connection.writeFile('/data/dir/file', 'from Modbox');
    const { code, stdout, stderr } = await runPython(
      server,
      `
import modal
volume = modal.Volume.from_name("${volume}")
print(b"".join(volume.read_file("dir/file")).decode())
app = modal.App.lookup("modbox")
sb = modal.Sandbox.create("sh", "-c", "echo from Python > /mnt/file", app=app, image=modal.Image.from_registry("python:3.11-slim"), volumes={"/mnt": volume})
sb.wait()
`,
    );
    assert.equal(code, 0, stderr);
    assert.equal(stdout.trim(), 'from Modbox');
    await made.connection.reloadVolumes();
    assert.equal(await made.connection.readTextFile('/data/file'), 'from Python\n');
  });

  test('a sandbox and an image of the Python client are reached by id through Modbox', async () => {
    const { code, stdout, stderr } = await runPython(
      server,
      `
import modal
app = modal.App.lookup("e2e-modbox", create_if_missing=True)
image = modal.Image.debian_slim(python_version="3.11").run_commands("echo built > /built")
sb = modal.Sandbox.create(app=app, image=image, timeout=300)
print(sb.object_id, image.object_id)
`,
    );
    assert.equal(code, 0, stderr);
    const [sandboxId = '', imageId = ''] = stdout.trim().split(' ');
    const sandbox = await modbox.getSandbox(sandboxId);
    assert.equal(sandbox.taskId, sandboxId);
    assert.equal(await output(modbox.connect(sandbox), ['cat', '/built']), 'built');
    assert.equal((await modbox.destroySandbox({ taskId: sandboxId })).status, 'ended');
    await using made = await provision({ imageId });
    assert.equal(await output(made.connection, ['cat', '/built']), 'built');
    assert.equal(made.sandbox.status, 'running');
  });
});

// Thousands: `npm run test:soak`.
test(`${EXECUTIONS} one-shot executions, 20 at a time: none lost, nothing left`, async (context) => {
  const limiter = new Limiter(20);
  const started = performance.now();
  const results = await Promise.all(
    Array.from({ length: EXECUTIONS }, (_, index) =>
      limiter.run(async () => {
        await using made = await provision({ ttlSeconds: 120 });
        const { exitCode, stdout } = await made.connection.exec({
          argv: ['sh', '-c', `echo ${index}; exit ${index % 7}`],
        });
        return `${stdout.trim()} ${exitCode}`;
      }),
    ),
  );
  context.diagnostic(
    `${Math.round((EXECUTIONS / (performance.now() - started)) * 10_000) / 10} executions per second`,
  );
  assert.deepEqual(
    results,
    Array.from({ length: EXECUTIONS }, (_, index) => `${index} ${index % 7}`),
  );
  assert.deepEqual(await modbox.listSandboxes(), []);
  await eventually(async () => {
    const left = await inventory(server.dataDir);
    return !left.some(isOfASandbox);
  }, 'mounts, cgroups and processes of all sandboxes are gone');
});
