import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { eventually } from '../../sandboxes/testing/domain.ts';
import { BASE_IMAGE } from '../../sandboxes/testing/test-images.ts';
import { ApiServer } from './testing/api-server.ts';

const sandboxes = '/modbox/v1/sandboxes';

test('images: an unknown id 404, no name of one 400, still being fetched 503, beyond the quota 429', async () => {
  await using server = await ApiServer.start({ imagePatienceMs: 1, config: { maxSandboxes: 1 } });
  const silent = createServer().listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const address = silent.address();
  assert.ok(typeof address === 'object' && address);
  const provision = (imageId: string) => server.call('POST', sandboxes, { body: { taskId: 't', imageId } });
  assert.equal((await provision('im-0000000000000000000000')).status, 404);
  assert.equal((await provision('no image')).status, 400);
  const slow = await provision(`127.0.0.1:${address.port}/slow:1`);
  assert.equal(slow.status, 503);
  assert.equal(slow.headers.get('retry-after'), '5');
  assert.equal(slow.json.error.path, 'imageId');
  silent.close();
  await server.sandbox('first', { imageId: BASE_IMAGE });
  const full = await provision(BASE_IMAGE);
  assert.equal(full.status, 429);
  assert.equal(full.headers.get('retry-after'), '5');
});

const versions = { builtFrom: 'Dockerfile', python: '3.12.3', node: '22.1.0', bash: '5.2.37', go: '1.23.12' };
const writesVersions = (values: object) =>
  `FROM base\nRUN printf %s '${JSON.stringify(values)}' > /etc/code-interpreter.json`;

test('the default image: built once, with its versions', async () => {
  await using server = await ApiServer.start({ dockerfile: writesVersions(versions) });
  assert.equal((await server.call('GET', '/modbox/v1/images/default')).json.status, 'not-built');
  const answers = await Promise.all(
    [undefined, '', undefined].map((imageId, index) =>
      server.call('POST', sandboxes, { body: { taskId: `t${index}`, imageId } }),
    ),
  );
  assert.deepEqual(
    answers.map(({ status }) => status),
    [201, 201, 201],
  );
  const { json } = await server.call('GET', '/modbox/v1/images/default');
  assert.deepEqual(new Set(answers.map(({ json: { imageId } }) => imageId)), new Set([json.imageId]));
  assert.equal(server.domain.log.filter(({ msg }) => msg === 'image.default.built').length, 1);
  assert.equal(json.status, 'ready');
  assert.equal(json.builtFrom, 'Dockerfile');
  assert.deepEqual(json.languages, [
    { name: 'Python', version: '3.12.3', invocation: 'python3' },
    { name: 'Node', version: '22.1.0', invocation: 'node' },
    { name: 'Bash', version: '5.2.37', invocation: 'bash' },
    { name: 'Go', version: '1.23.12', invocation: 'go run' },
  ]);
});

test('the default image: it is told while it is being built, and a caller told to come back', async () => {
  await using server = await ApiServer.start({
    dockerfile: writesVersions(versions),
    imagePatienceMs: 1,
  });
  const held = server.domain.engine.faults.hold('prepare');
  assert.equal((await server.call('POST', '/modbox/v1/images/default')).status, 202);
  assert.equal((await server.call('GET', '/modbox/v1/images/default')).json.status, 'building');
  assert.equal((await server.call('POST', sandboxes, { body: { taskId: 't' } })).status, 503);
  held.release();
  await eventually(
    async () => (await server.call('GET', '/modbox/v1/images/default')).json.status === 'ready',
  );
  assert.equal((await server.call('POST', sandboxes, { body: { taskId: 't' } })).status, 201);
});

test('the default image: a link out of its layer is not read', async () => {
  const outside = JSON.stringify({ ...versions, python: 'host' });
  const dockerfile = `FROM base\nRUN printf %s '${outside}' > /data/own.json && ln -s ../data/own.json /etc/code-interpreter.json`;
  await using server = await ApiServer.start({ dockerfile });
  assert.equal((await server.call('POST', sandboxes, { body: { taskId: 't' } })).status, 201);
  assert.equal((await server.call('GET', '/modbox/v1/images/default')).json.languages[0]?.version, 'host');

  const leading = `FROM base\nRUN ln -s /etc/hostname /etc/code-interpreter.json`;
  await using other = await ApiServer.start({ dockerfile: leading });
  assert.equal((await other.call('POST', sandboxes, { body: { taskId: 't' } })).status, 201);
  const { json } = await other.call('GET', '/modbox/v1/images/default');
  assert.equal(json.status, 'ready');
  assert.deepEqual(json.languages, []);
});

test('the default image: a failed build says why with 422, and is tried again', async () => {
  await using server = await ApiServer.start({ dockerfile: 'FROM base\nRUN echo "no such thing"; false' });
  for (const taskId of ['t', 'again']) {
    const failed = await server.call('POST', sandboxes, { body: { taskId } });
    assert.equal(failed.status, 422);
    assert.match(failed.text, /no such thing/);
    assert.equal((await server.call('GET', '/modbox/v1/images/default')).json.status, 'failed');
  }
});
