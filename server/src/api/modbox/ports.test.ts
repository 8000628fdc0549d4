/** Ports of sandboxes, from provisioning to a request that reaches them. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import https from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { ApiServer } from './testing/api-server.ts';

const sandboxes = '/modbox/v1/sandboxes';
const serve = (port: number) => ({ argv: ['httpd', '-f', '-p', `127.0.0.1:${port}`, '-h', '/data'] });

/** Over TLS with the server's own authority trusted. */
async function getSecurely(server: ApiServer, url: string): Promise<string> {
  const ca = await readFile(join(server.domain.dataDir, 'tls/ca.pem'));
  return new Promise((resolve, reject) => {
    const request = https.get(`${url}/lower.txt`, { ca, agent: false }, (answer) => resolve(text(answer)));
    request.on('error', reject);
  });
}

test('ports that were provisioned have URLs that are the same each time', async () => {
  await using server = await ApiServer.start();
  const ports = [8000, { port: 9000, plain: true, http2: true }];
  const api = await server.sandbox('t', { ports });
  await server.call('POST', `${api}/processes`, { body: serve(8000) });
  const { status, json, text: said } = await server.call('GET', `${api}/tunnels`);
  assert.equal(status, 200, said);
  assert.deepEqual(
    json.tunnels.map(({ port, plain }) => [port, plain?.host]),
    [
      [8000, undefined],
      [9000, '127.0.0.1'],
    ],
  );
  assert.equal(await getSecurely(server, json.tunnels[0]?.url ?? ''), 'lower\n');
  assert.deepEqual((await server.call('GET', `${api}/tunnels`)).json, json);
  const none = await server.sandbox('none');
  assert.deepEqual((await server.call('GET', `${none}/tunnels`)).json, { tunnels: [] });
});

test('a connect token opens a port that nobody named before', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox();
  await server.call('POST', `${api}/processes`, { body: serve(8080) });
  for (const body of [{}, { userMetadata: 'me' }, { port: 8080, userMetadata: { id: 1, of: ['ü'] } }]) {
    const { status, json, text: said } = await server.call('POST', `${api}/connect-tokens`, { body });
    assert.equal(status, 201, said);
    assert.equal(json.expiresInSeconds, 86_400);
    const headers = { authorization: `Bearer ${json.token}` };
    const answer = await fetch(`${json.url}/lower.txt`, { headers });
    assert.deepEqual([answer.status, await answer.text()], [200, 'lower\n']);
    assert.equal((await fetch(json.url)).status, 401);
  }
  assert.doesNotMatch(JSON.stringify(server.domain.log), /sct_/);
});

test('what cannot be is named: ports, networks, metadata; an ended sandbox says why it ended', async () => {
  await using server = await ApiServer.start();
  for (const [definition, path] of [
    [{ ports: [0] }, 'ports'],
    [{ ports: [8000, { port: 8000 }] }, 'ports'],
    [{ ports: [{ port: 8000, tls: true }] }, 'ports'],
    [{ ports: Array.from({ length: 65 }, (_, at) => at + 1) }, 'ports'],
    [{ inboundCidrs: ['10.0.0.1'] }, 'inboundCidrs'],
  ] as const) {
    const body = { taskId: 'bad', imageId: 'base', ...definition };
    const { status, json } = await server.call('POST', sandboxes, { body });
    assert.equal(status, 400, JSON.stringify(definition));
    assert.ok(String(json.error.path).startsWith(path), String(json.error.path));
  }
  const api = await server.sandbox('t', { ports: [8000] });
  for (const [body, path] of [
    [{ port: 70_000 }, 'port'],
    [{ userMetadata: 'x'.repeat(512) }, 'userMetadata'],
    [{ userMetadata: { x: 'y'.repeat(504) } }, 'userMetadata'],
    [{ userMetadata: 'a\r\nX-Admin: 1' }, 'userMetadata'],
  ] as const) {
    const { status, json } = await server.call('POST', `${api}/connect-tokens`, { body });
    assert.deepEqual([status, json.error.path], [400, path]);
  }
  await server.call('DELETE', `${sandboxes}/t`);
  for (const [method, path, body] of [
    ['GET', 'tunnels', undefined],
    ['POST', 'connect-tokens', {}],
  ] as const) {
    const { status, json } = await server.call(method, `${api}/${path}`, { body });
    assert.deepEqual([status, json.error.reason], [410, 'terminated']);
  }
});

test('ports and who may reach them are part of the definition; who may not is cut off', async () => {
  await using server = await ApiServer.start();
  const definition = { ports: [8000, 9000], inboundCidrs: ['203.0.113.0/24', '2001:db8::/32'] };
  const api = await server.sandbox('t', definition);
  const body = { taskId: 't', imageId: 'base', ...definition };
  const reordered = { ports: [{ port: 9000 }, 8000], inboundCidrs: definition.inboundCidrs.toReversed() };
  assert.equal((await server.call('POST', sandboxes, { body: { ...body, ...reordered } })).status, 200);
  for (const [change, differs] of [
    [{ ports: [8000] }, 'ports'],
    [{ ports: [8000, { port: 9000, plain: true }] }, 'ports'],
    [{ inboundCidrs: [] }, 'inboundCidrs'],
  ] as const) {
    const { status, json } = await server.call('POST', sandboxes, { body: { ...body, ...change } });
    assert.deepEqual([status, json.error.differs], [409, [differs]]);
  }
  await server.call('POST', `${api}/processes`, { body: serve(8000) });
  const { json } = await server.call('GET', `${api}/tunnels`);
  await assert.rejects(getSecurely(server, json.tunnels[0]?.url ?? ''));
  const granted = await server.call('POST', `${api}/connect-tokens`, { body: { port: 8000 } });
  const headers = { authorization: `Bearer ${granted.json.token}` };
  await assert.rejects(fetch(granted.json.url, { headers }));
});
