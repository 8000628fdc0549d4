import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deadline } from '../../sandboxes/testing/domain.ts';
import { BASE_IMAGE, buildImage } from '../../sandboxes/testing/test-images.ts';
import { type AnyAnswer, ApiServer } from './testing/api-server.ts';

const sandboxes = '/modbox/v1/sandboxes';

/** All that are not ended, newest first. */
const live = ({ domain }: ApiServer) => domain.manager.list({ limit: 100 });

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
  server.domain.images.publish(BASE_IMAGE, body.imageId);
  const held = server.domain.engine.faults.hold('prepare');
  const { status, json } = await server.call('POST', sandboxes, { body });
  assert.equal(status, 201);
  const made = server.of('task-1');
  assert.deepEqual(
    { ...json, createdAt: '', expiresAt: '' },
    {
      taskId: 'task-1',
      sandboxId: made.id,
      status: 'starting',
      isolation: 'gvisor',
      endReason: null,
      sandboxUrl: `${server.url}/sandboxes/${made.id}`,
      apiKey: server.keyOf(made.id),
      imageId: BASE_IMAGE,
      ttlSeconds: 60,
      ttlMode: 'absolute',
      createdAt: '',
      expiresAt: '',
    },
  );
  const { spec } = made;
  assert.equal(spec.noEntrypoint, true);
  assert.equal(spec.externalKey, 'task-1');
  assert.equal(spec.name, 'task-1');
  assert.deepEqual(spec.resources, {
    memoryMiB: 128,
    memoryLimitMiB: 128,
    milliCpu: 500,
    milliCpuLimit: 500,
  });
  assert.deepEqual(spec.network, { kind: 'blocked' });
  assert.equal(spec.workdir, '/work');
  assert.ok(
    !JSON.stringify([spec, made.tags]).includes('"1"'),
    'no value of the environment is stored in clear',
  );
  held.release();
  const { json: waited } = await server.call('GET', `${sandboxes}/task-1/wait?timeoutSeconds=60`);
  const { startedAtMs = 0 } = made;
  const expiresAt = new Date(startedAtMs + 60_000).toISOString();
  assert.deepEqual(waited, { ...json, status: 'running', expiresAt }, 'its time counts from its start');
  const { json: ran } = await server.call('POST', `/sandboxes/${made.id}/modbox/api/exec`, {
    body: { command: 'echo $A; pwd' },
  });
  assert.equal(ran.stdout, '1\n/work\n');
});

test('a task id is the name of the sandbox where the Modal clients would take it for one', async () => {
  await using server = await ApiServer.start();
  for (const [taskId, name] of [
    ['_a.b-c', '_a.b-c'],
    ['x'.repeat(64), 'x'.repeat(64)],
    ['x'.repeat(65), undefined],
    ['a/b', undefined],
    [`ap-${'A'.repeat(22)}`, undefined],
  ] as const) {
    await server.call('POST', sandboxes, { body: { taskId, imageId: 'base' } });
    assert.equal(server.of(taskId).name, name, taskId);
  }
});

test('ttlMode idle counts from the last activity, with the longest lifetime as the bound', async () => {
  await using server = await ApiServer.start();
  const body = { taskId: 't', imageId: 'base', ttlSeconds: 3600, ttlMode: 'idle' };
  const { json } = await server.call('POST', sandboxes, { body });
  assert.equal(json.ttlMode, 'idle');
  assert.equal(json.ttlSeconds, 3600);
  assert.equal(server.of('t').spec.idleTimeoutMs, 3_600_000);
  assert.equal(server.of('t').spec.timeoutMs, 86_400_000);
});

test('an idle one can be suspended; its status says so, and a command wakes it', async () => {
  await using server = await ApiServer.start({ checkpoints: true });
  const body = { taskId: 't', imageId: 'base', ttlSeconds: 3600, ttlMode: 'idle', idleAction: 'suspend' };
  const { json } = await server.call('POST', sandboxes, { body });
  const sandbox = server.of('t');
  assert.equal(sandbox.spec.idleAction, 'suspend');
  await sandbox.suspend(deadline());
  const { json: found } = await server.call('GET', `${sandboxes}/t`);
  assert.deepEqual([found.status, found.endReason], ['suspended', null]);
  assert.equal((await server.call('POST', sandboxes, { body })).status, 200, 'it is the same sandbox');
  assert.equal(sandbox.state, 'suspended', 'none of that wakes it');
  const path = `/sandboxes/${json.sandboxId}/modbox/api/exec`;
  const { json: answer } = await server.call('POST', path, { body: { argv: ['echo', 'here'] } });
  assert.equal(answer.stdout, 'here\n');
  const ends = await server.call('POST', sandboxes, { body: { ...body, idleAction: 'end' } });
  assert.deepEqual([ends.status, ends.json.error.differs], [409, ['idleAction']]);
  const absolute = { taskId: 'u', imageId: 'base', idleAction: 'suspend' };
  assert.equal((await server.call('POST', sandboxes, { body: absolute })).status, 400);
});

test('the same definition gives back the running sandbox, also 20 at a time', async () => {
  await using server = await ApiServer.start();
  const body = { taskId: 'user@example.org/ü', imageId: 'base', envVars: { B: '2', A: '1' } };
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => server.call('POST', sandboxes, { body })),
  );
  assert.equal(live(server).length, 1);
  assert.deepEqual(answers.map((answer) => answer.status).sort(), [...Array(19).fill(200), 201]);
  const reordered = { ...body, envVars: { A: '1', B: '2' } };
  assert.equal((await server.call('POST', sandboxes, { body: reordered })).status, 200);
});

test('another definition under the same task id is refused, naming what differs', async () => {
  await using server = await ApiServer.start();
  const other = await buildImage(server.domain.images, ['FROM base', 'ENV OTHER=yes']);
  const body = { taskId: 't', imageId: 'base', envVars: { A: 'secret-1' } };
  await server.call('POST', sandboxes, { body });
  for (const [change, differs] of [
    [{ imageId: other }, ['imageId']],
    [{ ttlSeconds: 61 }, ['ttlSeconds']],
    [{ ttlMode: 'idle' }, ['ttlMode']],
    [{ envVars: { A: 'secret-2' } }, ['envVars']],
    [{ envVars: {} }, ['envVars']],
    [{ workdir: '/w' }, ['workdir']],
    [{ cpu: 2, memoryMiB: 100 }, ['cpu', 'memoryMiB']],
    [{ network: 'blocked' }, ['network']],
    [{ network: { domains: ['example.com'] } }, ['network']],
    [{ volumes: { '/data': 'vol' } }, ['volumes']],
  ] as const) {
    const { status, json, text } = await server.call('POST', sandboxes, { body: { ...body, ...change } });
    assert.equal(status, 409, text);
    assert.deepEqual(json.error.differs, differs);
    for (const field of differs) assert.ok(String(json.error.message).includes(field), text);
    assert.ok(!text.includes('secret-'), 'values stay out of the answer');
  }
  assert.equal(live(server).length, 1);
});

test('domains that it may reach, and an audit of that, are its policy', async () => {
  await using server = await ApiServer.start();
  const network = { domains: ['Example.com', '*.example.org'], audit: true };
  await server.call('POST', sandboxes, { body: { taskId: 't', imageId: 'base', network } });
  const domains = ['example.com', '*.example.org'];
  assert.deepEqual(live(server)[0]?.spec.network, { kind: 'allowlist', cidrs: [], domains, audited: true });
  for (const bad of [[], ['no domain'], ['192.0.2.1']]) {
    const body = { taskId: 'u', imageId: 'base', network: { domains: bad } };
    assert.equal((await server.call('POST', sandboxes, { body })).status, 400, String(bad));
  }
});

test('an open network and a blocked one are audited as well', async () => {
  await using server = await ApiServer.start();
  for (const access of ['open', 'blocked'] as const) {
    const body = { taskId: access, imageId: 'base', network: { access, audit: true } };
    const { status, text } = await server.call('POST', sandboxes, { body });
    assert.equal(status, 201, text);
  }
  const policies = live(server).map(({ spec }) => spec.network);
  assert.deepEqual(policies.map(({ kind, audited }) => [kind, audited]).sort(), [
    ['blocked', true],
    ['open', true],
  ]);
  const body = { taskId: 'u', imageId: 'base', network: { access: 'open', domains: ['a.test'] } };
  assert.equal((await server.call('POST', sandboxes, { body })).status, 400);
});

test('secret headers are told apart, and their values are nowhere in clear', async () => {
  await using server = await ApiServer.start();
  const of = (value: string) => [{ domain: 'A.test', headers: { Authorization: value } }];
  const body = { taskId: 't', imageId: 'base', secretHeaders: of('secret-$1') };
  const made = await server.call('POST', sandboxes, { body });
  assert.equal(made.status, 201, made.text);
  const [sandbox] = live(server);
  assert.ok(sandbox?.spec.network.headers);
  assert.doesNotMatch(JSON.stringify([sandbox.spec, sandbox.tags, made.json]), /secret-/);
  assert.equal((await server.call('POST', sandboxes, { body })).status, 200);
  for (const change of [{ secretHeaders: of('secret-2') }, { secretHeaders: undefined }]) {
    const { status, json, text } = await server.call('POST', sandboxes, { body: { ...body, ...change } });
    assert.deepEqual([status, json.error?.differs], [409, ['secretHeaders']], text);
    assert.ok(!text.includes('secret-'));
  }
  for (const bad of [
    [{ domain: 'no domain', headers: { x: 'y' } }],
    [{ domain: 'a.test', headers: {} }],
    [{ domain: 'a.test', headers: { Host: 'b.test' } }],
    [{ domain: 'a.test', headers: { x: 'secret-\n' } }],
  ]) {
    const { status, text } = await server.call('POST', sandboxes, {
      body: { taskId: 'u', imageId: 'base', secretHeaders: bad },
    });
    assert.equal(status, 400, text);
    assert.ok(!text.includes('secret-'));
  }
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
  assert.notEqual((await server.call('GET', `${sandboxes}/t`)).json.status, 'ended');
});

test('sandboxes are found by sandbox id whoever made them; what is missing is 404', async () => {
  await using server = await ApiServer.start();
  await server.sandbox('t');
  for (const idShape of ['v1', 'v2'] as const) {
    const other = await server.domain.manager.create(server.domain.spec(), { idShape });
    const { json } = await server.call('GET', `${sandboxes}/${other.id}`);
    assert.equal(json.sandboxId, other.id);
    assert.equal(json.taskId, other.id);
    const refused = await server.call('POST', sandboxes, { body: { taskId: other.id } });
    assert.deepEqual([refused.status, refused.json.error.path], [400, 'taskId']);
  }
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
  const held = server.domain.engine.faults.hold('prepare');
  await server.call('POST', sandboxes, { body: { taskId: 't', imageId: 'base' } });
  const early = await server.call('GET', `${sandboxes}/t/wait?timeoutSeconds=0`);
  assert.equal(early.status, 425);
  assert.equal(early.headers.get('retry-after'), '1');
  assert.equal(early.json.error.retryable, true);
  const waiting = server.call('GET', `${sandboxes}/t/wait?timeoutSeconds=60`);
  held.release();
  assert.equal((await waiting).json.status, 'running');
});

test('a sandbox that cannot start is told so by the wait, and leaves its task id free', async () => {
  await using server = await ApiServer.start();
  server.domain.engine.faults.failTimes('prepare', 1, new Error('no room for it'));
  const body = { taskId: 't', imageId: 'base' };
  await server.call('POST', sandboxes, { body });
  const waited = await server.call('GET', `${sandboxes}/t/wait?timeoutSeconds=60`);
  assert.equal(waited.status, 410);
  assert.equal(waited.json.error.reason, 'start-failed');
  assert.equal((await server.call('GET', `${sandboxes}/t`)).json.endReason, 'start-failed');
  assert.equal((await server.call('POST', sandboxes, { body })).status, 201);
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

test('volumes are made by name, mounted, kept and shared', async () => {
  await using server = await ApiServer.start();
  const body = {
    imageId: 'base',
    volumes: {
      '/data': 'results',
      '/part': { name: 'results', subPath: 'a/b' },
      '/ro': { name: 'other', readOnly: true },
    },
  };
  const one = await server.sandbox('one', body);
  const sh = (api: string, command: string) => server.call('POST', `${api}/exec`, { body: { command } });
  assert.equal((await sh(one, 'echo 1 > /part/file; cat /data/a/b/file')).json.stdout, '1\n');
  assert.equal((await server.call('POST', sandboxes, { body: { ...body, taskId: 'one' } })).status, 200);
  const two = await server.sandbox('two', { imageId: 'base', volumes: { '/shared': 'results' } });
  assert.equal((await sh(two, 'cat /shared/a/b/file; echo 2 > /shared/two')).json.stdout, '1\n');
  assert.equal((await sh(one, 'test -e /data/two || echo none')).json.stdout, 'none\n');
  const reloaded = await server.call('POST', `${one}/volumes/reload`);
  assert.deepEqual([reloaded.status, reloaded.text], [200, '{"volumes":["/data","/part","/ro"]}']);
  assert.equal((await sh(one, 'cat /data/two')).json.stdout, '2\n');
  for (const [volumes, path] of [
    [{ data: 'v' }, 'volumes'],
    [{ '/data': 'a/b' }, 'volumes'],
    [{ '/data': { name: 'v', readonly: true } }, 'volumes'],
    [{ '/data': { name: 'v', subPath: '../x' } }, undefined],
    [{ '/proc': 'v' }, undefined],
  ] as const) {
    const { status, json } = await server.call('POST', sandboxes, {
      body: { taskId: 'bad', imageId: 'base', volumes },
    });
    assert.equal(status, 400);
    if (path) assert.ok(String(json.error.path).startsWith(path));
  }
});
