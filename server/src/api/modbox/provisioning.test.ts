import assert from 'node:assert/strict';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type AnyAnswer, ApiServer } from './testing/api-server.ts';

const sandboxes = '/modbox/v1/sandboxes';

test('provisioning makes a sandbox without an entrypoint and says where it is', async () => {
  await using server = await ApiServer.start();
  const body = {
    taskId: 'task-1',
    imageId: 'python:3.12-slim',
    ttlSeconds: 60,
    envVars: { A: '1' },
    cpu: 0.5,
    memoryMiB: 128,
    workdir: '/work',
    network: 'blocked',
  };
  const { status, json } = await server.call('POST', sandboxes, { body });
  assert.equal(status, 201);
  const [made] = server.sandboxes.all;
  assert.ok(made);
  assert.deepEqual(
    { ...json, createdAt: '', expiresAt: '' },
    {
      taskId: 'task-1',
      sandboxId: made.id,
      status: 'running',
      isolation: 'gvisor',
      endReason: null,
      sandboxUrl: `${server.url}/sandboxes/${made.id}`,
      apiKey: `key-of-${made.id}`,
      imageId: server.images.image('python:3.12-slim').id,
      ttlSeconds: 60,
      ttlMode: 'absolute',
      createdAt: '',
      expiresAt: '',
    },
  );
  assert.equal(Date.parse(json.expiresAt ?? '') - Date.parse(json.createdAt), 60_000);
  const { spec } = made;
  assert.equal(spec.noEntrypoint, true);
  assert.equal(spec.externalKey, 'task-1');
  assert.equal(spec.name, 'task-1');
  assert.deepEqual(spec.secretSources, [{ kind: 'inline', env: { A: '1' } }]);
  assert.deepEqual(spec.resources, {
    memoryMiB: 128,
    memoryLimitMiB: 128,
    milliCpu: 500,
    milliCpuLimit: 500,
  });
  assert.deepEqual(spec.network, { kind: 'blocked' });
  assert.equal(spec.workdir, '/work');
  assert.ok(!JSON.stringify(spec.tags).includes('"1"'), 'no value of the environment is in a tag');
});

test('ttlMode idle counts from the last activity, with the longest lifetime as the bound', async () => {
  await using server = await ApiServer.start();
  const body = { taskId: 't', imageId: 'base', ttlSeconds: 3600, ttlMode: 'idle' };
  const { json } = await server.call('POST', sandboxes, { body });
  assert.equal(json.ttlMode, 'idle');
  assert.equal(json.ttlSeconds, 3600);
  assert.equal(server.sandboxes.all[0]?.spec.idleTimeoutMs, 3_600_000);
  assert.equal(server.sandboxes.all[0]?.spec.timeoutMs, 86_400_000);
});

test('the same definition gives back the running sandbox, also 20 at a time', async () => {
  await using server = await ApiServer.start();
  const body = { taskId: 'user@example.org/ü', imageId: 'base', envVars: { B: '2', A: '1' } };
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => server.call('POST', sandboxes, { body })),
  );
  assert.equal(server.sandboxes.all.length, 1);
  assert.deepEqual(answers.map((answer) => answer.status).sort(), [...Array(19).fill(200), 201]);
  const reordered = { ...body, envVars: { A: '1', B: '2' } };
  assert.equal((await server.call('POST', sandboxes, { body: reordered })).status, 200);
});

test('another definition under the same task id is refused, naming what differs', async () => {
  await using server = await ApiServer.start();
  const body = { taskId: 't', imageId: 'base', envVars: { A: 'secret-1' } };
  await server.call('POST', sandboxes, { body });
  for (const [change, differs] of [
    [{ imageId: 'other' }, ['imageId']],
    [{ ttlSeconds: 61 }, ['ttlSeconds']],
    [{ ttlMode: 'idle' }, ['ttlMode']],
    [{ envVars: { A: 'secret-2' } }, ['envVars']],
    [{ envVars: {} }, ['envVars']],
    [{ workdir: '/w' }, ['workdir']],
    [{ cpu: 2, memoryMiB: 100 }, ['cpu', 'memoryMiB']],
    [{ network: 'blocked' }, ['network']],
  ] as const) {
    const { status, json, text } = await server.call('POST', sandboxes, { body: { ...body, ...change } });
    assert.equal(status, 409, text);
    assert.deepEqual(json.error.differs, differs);
    for (const field of differs) assert.ok(String(json.error.message).includes(field), text);
    assert.ok(!text.includes('secret-'), 'values stay out of the answer');
  }
  assert.equal(server.sandboxes.all.length, 1);
});

test('a destroyed sandbox is still found, and its task id is free again', async () => {
  await using server = await ApiServer.start();
  const body = { taskId: 't', imageId: 'base' };
  await server.call('POST', sandboxes, { body });
  const destroyed = await server.call('DELETE', `${sandboxes}/t`);
  assert.equal(destroyed.status, 200);
  assert.equal(destroyed.json.status, 'ended');
  assert.equal(destroyed.json.endReason, 'terminated');
  assert.equal(destroyed.json.expiresAt, null);
  assert.equal((await server.call('DELETE', `${sandboxes}/t`)).status, 200, 'again changes nothing');
  assert.equal((await server.call('GET', `${sandboxes}/t`)).json.status, 'ended');
  const waited = await server.call('GET', `${sandboxes}/t/wait`);
  assert.equal(waited.status, 410);
  assert.equal(waited.json.error.reason, 'terminated');
  assert.equal((await server.call('POST', sandboxes, { body })).status, 201);
  assert.equal((await server.call('GET', `${sandboxes}/t`)).json.status, 'running');
});

test('sandboxes are found by sandbox id whoever made them; what is missing is 404', async () => {
  await using server = await ApiServer.start();
  await server.sandbox('t');
  const spec = server.sandboxes.all[0]?.spec;
  assert.ok(spec);
  const other = await server.sandboxes.create({ ...spec, externalKey: undefined, tags: {} });
  const { json } = await server.call('GET', `${sandboxes}/${other.id}`);
  assert.equal(json.sandboxId, other.id);
  assert.equal(json.taskId, other.id);
  for (const [method, path] of [
    ['GET', 'nobody'],
    ['GET', 'nobody/wait'],
    ['DELETE', 'nobody'],
    ['GET', 'sb-00000000000000000000000000'],
  ] as const) {
    const { status, json: body } = await server.call(method, `${sandboxes}/${path}`);
    assert.equal(status, 404);
    assert.equal(body.error.code, 'not-found');
  }
});

test('waiting returns when it runs, and says 425 with Retry-After when it does not yet', async () => {
  await using server = await ApiServer.start();
  await server.sandbox('t');
  const sandbox = server.sandboxes.all[0];
  assert.ok(sandbox);
  const started = Promise.withResolvers<void>();
  sandbox.state = 'starting';
  sandbox.running = started.promise;
  const early = await server.call('GET', `${sandboxes}/t/wait?timeoutSeconds=0`);
  assert.equal(early.status, 425);
  assert.equal(early.headers.get('retry-after'), '1');
  assert.equal(early.json.error.retryable, true);
  const waiting = server.call('GET', `${sandboxes}/t/wait?timeoutSeconds=60`);
  sandbox.state = 'running';
  started.resolve();
  assert.equal((await waiting).json.status, 'running');
});

test('lists page by cursor, newest first, ended ones on request', async () => {
  await using server = await ApiServer.start();
  for (const taskId of ['a', 'b', 'c']) await server.sandbox(taskId);
  await server.call('DELETE', `${sandboxes}/b`);
  const ids = (json: AnyAnswer) => json.sandboxes.map(({ taskId }) => taskId);
  assert.deepEqual(ids((await server.call('GET', sandboxes)).json), ['c', 'a']);
  const first = await server.call('GET', `${sandboxes}?includeEnded=true&limit=2`);
  assert.deepEqual(ids(first.json), ['c', 'b']);
  const next = await server.call(
    'GET',
    `${sandboxes}?includeEnded=true&limit=2&cursor=${first.json.nextCursor}`,
  );
  assert.deepEqual(ids(next.json), ['a']);
  assert.equal(next.json.nextCursor, null);
});

test('images: unknown 404, still being fetched 503 with Retry-After, beyond the quota 429', async () => {
  await using server = await ApiServer.start({ imagePatienceMs: 1 });
  const provision = (imageId: string) => server.call('POST', sandboxes, { body: { taskId: 't', imageId } });
  assert.equal((await provision('gone:1')).status, 404);
  assert.equal((await provision('im-0000000000000000000000')).status, 404);
  const slow = await provision('slow:1');
  assert.equal(slow.status, 503);
  assert.equal(slow.headers.get('retry-after'), '5');
  assert.equal(slow.json.error.path, 'imageId');
  server.sandboxes.maxRunning = 0;
  const full = await provision(server.images.image('base').id);
  assert.equal(full.status, 429);
  assert.equal(full.headers.get('retry-after'), '5');
});

test('the default image: built once, with its versions', async () => {
  await using server = await ApiServer.start();
  assert.equal((await server.call('GET', '/modbox/v1/images/default')).json.status, 'not-built');
  const etc = join(server.images.layerDirectory, 'etc');
  mkdirSync(etc, { recursive: true });
  const versions = {
    builtFrom: 'Dockerfile',
    python: '3.12.3',
    node: '22.1.0',
    bash: '5.2.37',
    go: '1.23.12',
  };
  writeFileSync(join(etc, 'code-interpreter.json'), JSON.stringify(versions));
  for (const imageId of [undefined, '']) {
    const { status } = await server.call('POST', sandboxes, { body: { taskId: `t${imageId}`, imageId } });
    assert.equal(status, 201);
  }
  assert.equal(server.images.builds, 1, 'the second uses what the first built');
  const { json } = await server.call('GET', '/modbox/v1/images/default');
  assert.equal(json.status, 'ready');
  assert.equal(json.builtFrom, 'Dockerfile');
  assert.deepEqual(json.languages, [
    { name: 'Python', version: '3.12.3', invocation: 'python3' },
    { name: 'Node', version: '22.1.0', invocation: 'node' },
    { name: 'Bash', version: '5.2.37', invocation: 'bash' },
    { name: 'Go', version: '1.23.12', invocation: 'go run' },
  ]);
});

test('the default image: a link out of the layer is not read, a failed build says why with 422', async () => {
  await using server = await ApiServer.start();
  server.images.failing = /./;
  const failed = await server.call('POST', sandboxes, { body: { taskId: 't' } });
  assert.equal(failed.status, 422);
  assert.match(failed.text, /no such base/);
  assert.equal((await server.call('GET', '/modbox/v1/images/default')).json.status, 'failed');

  server.images.failing = /^$/;
  const etc = join(server.images.layerDirectory, 'etc');
  mkdirSync(etc, { recursive: true });
  const outside = join(server.images.layerDirectory, '..', 'outside.json');
  writeFileSync(outside, JSON.stringify({ builtFrom: '', python: 'host', node: '', bash: '', go: '' }));
  symlinkSync(outside, join(etc, 'code-interpreter.json'));
  assert.equal((await server.call('POST', '/modbox/v1/images/default')).status, 202);
  assert.equal((await server.call('POST', sandboxes, { body: { taskId: 't' } })).status, 201);
  const { json } = await server.call('GET', '/modbox/v1/images/default');
  assert.equal(json.status, 'ready');
  assert.deepEqual(json.languages, []);
  rmSync(outside);
});
