import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ApiServer } from '../../server/src/api/modbox/testing/api-server.ts';
import { run } from '../../server/src/platform/command.ts';
import { BASE_IMAGE } from '../../server/src/sandboxes/testing/test-images.ts';
import {
  AuthenticationError,
  type ModboxClient as Client,
  ConflictError,
  ConnectionError,
  DiskFullError,
  ModboxClient,
  ModboxError,
  WaitTimeoutError,
} from './index.ts';

const clientOf = (server: ApiServer): Client =>
  new ModboxClient({ token: server.token, baseUrl: `${server.url}/` });

test('the types are those of the server as it is', async () => {
  // A process of its own: schemas are named in one register, which here has those of other interfaces too.
  const script = fileURLToPath(new URL('../scripts/generate-types.ts', import.meta.url));
  const { code, stderr } = await run([process.execPath, script, '--check'], { okCodes: [1] });
  assert.equal(code, 0, stderr);
});

test('a sandbox from provisioning to its end', async () => {
  await using server = await ApiServer.start();
  const modbox = clientOf(server);
  const taskId = 'user/ü 1';
  const volumes = { '/data': 'kept', '/part': { name: 'kept', subPath: 'part' } };
  const made = await modbox.provisionSandbox({
    taskId,
    imageId: 'base',
    ttlSeconds: undefined,
    volumes,
    ports: [8000],
  });
  const running = await modbox.waitForSandbox({ taskId, timeout: 60 });
  assert.deepEqual([running.sandboxId, running.status], [made.sandboxId, 'running']);
  assert.deepEqual(await modbox.getSandbox(taskId), running);
  assert.deepEqual(
    (await modbox.listSandboxes()).map((sandbox) => sandbox.taskId),
    [taskId],
  );

  const sandbox = modbox.connect(made);
  assert.equal((await sandbox.exec({ argv: ['cat'], stdin: 'in' })).stdout, 'in');
  const events = await Array.fromAsync(sandbox.execStream({ command: 'echo one; exit 2' }));
  assert.deepEqual(
    events.map((event) => (event.type === 'exit' ? event.exitCode : event.text)),
    ['one\n', 2],
  );
  await sandbox.writeFile('/part/file', 'in a volume');
  await sandbox.reloadVolumes();
  assert.equal(await sandbox.readTextFile('/data/part/file'), 'in a volume');
  await sandbox.writeFile('/d/f', 'text');
  assert.equal(await sandbox.readTextFile('/d/f'), 'text');
  assert.deepEqual(
    (await sandbox.listFiles('/d')).map(({ name }) => name),
    ['f'],
  );
  await sandbox.deleteFile('/d', { recursive: true });
  const { processId } = await sandbox.startProcess({ command: 'echo background' });
  const followed = await Array.fromAsync(sandbox.followProcess(processId));
  assert.equal(followed.at(-1)?.type, 'exit');
  assert.equal((await sandbox.processLogs(processId)).stdout, 'background\n');
  assert.equal((await sandbox.listProcesses()).length, 1);
  const [tunnel, ...others] = await sandbox.tunnels();
  assert.deepEqual([tunnel?.port, others], [8000, []]);
  assert.match(tunnel?.url ?? '', /^https:/);
  const granted = await sandbox.createConnectToken({ port: 8000, userMetadata: { user: 1 } });
  assert.equal((await fetch(granted.url)).status, 401);
  assert.equal((await sandbox.createConnectToken()).expiresInSeconds, 86_400);
  await sandbox.killProcess(processId);

  assert.equal((await modbox.destroySandbox({ taskId })).status, 'ended');
  assert.deepEqual(await modbox.listSandboxes(), []);
  assert.equal((await modbox.listSandboxes({ includeEnded: true })).length, 1);
  await assert.rejects(sandbox.exec({ argv: ['true'] }), { name: 'SandboxEndedError', reason: 'terminated' });
});

test('errors are typed, and their messages end with what to do', async () => {
  await using server = await ApiServer.start({ config: { maxSandboxes: 1 } });
  const modbox = clientOf(server);
  assert.throws(
    () => new ModboxClient({ token: '' }),
    (error: unknown) => {
      assert.ok(error instanceof AuthenticationError);
      assert.match(error.message, /skerry env/);
      return true;
    },
  );
  const wrong = new ModboxClient({ token: `${server.token}x`, baseUrl: server.url });
  await assert.rejects(wrong.listSandboxes(), AuthenticationError);
  await assert.rejects(modbox.getSandbox('none'), { name: 'NotFoundError', status: 404 });
  await assert.rejects(modbox.provisionSandbox({ taskId: 't', ttlSeconds: -1 }), {
    name: 'InvalidRequestError',
    path: 'ttlSeconds',
  });
  await modbox.provisionSandbox({ taskId: 't', imageId: 'base' });
  await assert.rejects(
    modbox.provisionSandbox({ taskId: 't', imageId: 'base', cpu: 2 }),
    (error: unknown) => {
      assert.ok(error instanceof ConflictError);
      assert.deepEqual(error.differs, ['cpu']);
      assert.ok(error.message.endsWith(error.suggestion));
      return true;
    },
  );
  await assert.rejects(modbox.provisionSandbox({ taskId: 'u', imageId: 'base' }), {
    name: 'QuotaError',
    retryAfterSeconds: 5,
  });
  const nowhere = new ModboxClient({ token: server.token, baseUrl: 'http://127.0.0.1:1' });
  await assert.rejects(nowhere.listSandboxes(), (error: unknown) => {
    assert.ok(error instanceof ConnectionError);
    assert.match(error.message, /MODBOX_API_URL/);
    return true;
  });
  const page = new ModboxClient({
    token: server.token,
    fetch: async () => new Response('<html>', { status: 502 }),
  });
  await assert.rejects(page.listSandboxes(), ConnectionError);
});

test('waits end when the caller says so, and an image that is being made is waited for', async (context) => {
  await using server = await ApiServer.start({ imagePatienceMs: 0, dockerfile: 'FROM base\nRUN true' });
  const held = server.domain.engine.faults.hold('prepare');
  const modbox = clientOf(server);
  await assert.rejects(modbox.provisionSandbox({ taskId: 't' }, { imageTimeout: 1 }), WaitTimeoutError);
  const imageId = BASE_IMAGE;
  await modbox.provisionSandbox({ taskId: 't', imageId });
  await assert.rejects(modbox.waitForSandbox({ taskId: 't', timeout: 0.05 }), WaitTimeoutError);
  const hangUp = new AbortController();
  const waiting = modbox.waitForSandbox({ taskId: 't', signal: hangUp.signal });
  hangUp.abort(new Error('enough'));
  await assert.rejects(waiting, /enough/);

  let calls = 0;
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const retrying = new ModboxClient({
    token: server.token,
    baseUrl: server.url,
    fetch: async (url, init) => {
      calls++;
      if (calls > 1) return fetch(url, init);
      const error = {
        code: 'unavailable',
        message: 'being built',
        suggestion: 'Wait.',
        retryable: true,
        path: 'imageId',
      };
      queueMicrotask(() => setImmediate(() => context.mock.timers.tick(5_000)));
      return Response.json({ error }, { status: 503, headers: { 'retry-after': '5' } });
    },
  });
  const { sandboxId } = await retrying.provisionSandbox({ taskId: 't', imageId });
  assert.equal(sandboxId, server.of('t').id);
  assert.equal(calls, 2);
  context.mock.timers.reset();
  held.release();
});

test('calls that may be repeated are while the server starts again, and others are not', async () => {
  await using server = await ApiServer.start();
  let cut = 0;
  const modbox = new ModboxClient({
    token: server.token,
    baseUrl: server.url,
    fetch: (url, init) => {
      if (cut === 0) return fetch(url, init);
      cut--;
      return Promise.reject(new TypeError('the connection broke'));
    },
  });
  cut = 1;
  const sandbox = modbox.connect(await modbox.provisionSandbox({ taskId: 't', imageId: 'base' }));
  await modbox.waitForSandbox({ taskId: 't' });
  cut = 1;
  assert.equal((await modbox.listSandboxes()).length, 1);
  cut = 1;
  await assert.rejects(sandbox.exec({ argv: ['true'] }), ConnectionError, 'it may have run');
});

test('an error of the server that has no class of its own is a ModboxError all the same', async () => {
  const answering = (status: number) =>
    new ModboxClient({
      token: 'token',
      fetch: async () =>
        Response.json(
          { error: { code: 'odd', message: 'odd', suggestion: '', retryable: false } },
          { status },
        ),
    });
  const isModbox = (error: unknown) => error instanceof ModboxError && error.name === 'ModboxError';
  await assert.rejects(answering(500).destroySandbox({ taskId: 't' }), isModbox);
  const full = answering(507).destroySandbox({ taskId: 't' });
  await assert.rejects(full, (error) => error instanceof ModboxError && error instanceof DiskFullError);
});

test('a stream is read however it is cut into pieces', async () => {
  const text =
    ': alive\n\nevent: stdout\ndata: {"text":"ü\\n"}\n\nevent: later\ndata: {}\n\nevent: exit\ndata: {"exitCode":0}\n\n';
  const bytes = new TextEncoder().encode(text);
  for (const size of [1, 2, 3, bytes.length]) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
      bytes.slice(index * size, (index + 1) * size),
    );
    const modbox = new ModboxClient({
      token: 'token',
      fetch: async () => new Response(ReadableStream.from(pieces)),
    });
    const sandbox = modbox.connect({ sandboxUrl: 'http://sandbox', apiKey: 'key' });
    const events = await Array.fromAsync(sandbox.execStream({ command: 'true' }));
    assert.deepEqual(events, [
      { type: 'stdout', text: 'ü\n' },
      { type: 'exit', exitCode: 0 },
    ]);
  }
});
