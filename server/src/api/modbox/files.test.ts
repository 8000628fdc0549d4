import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { ApiServer } from './testing/api-server.ts';

test('files are written, read, listed and deleted, byte for byte', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox();
  const bytes = randomBytes(3_000_001);
  const written = await server.call('PUT', `${api}/files?path=/a/b/data.bin`, {
    raw: new Uint8Array(bytes),
    headers: { 'content-type': 'application/json' },
  });
  assert.equal(written.status, 200, 'whatever the type, a file is bytes');
  assert.deepEqual({ ...written.json }, { path: '/a/b/data.bin', size: bytes.length });
  const read = await server.fetch('GET', `${api}/files?path=/a/b/data.bin`);
  assert.equal(read.headers.get('content-type'), 'application/octet-stream');
  const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');
  assert.equal(sha256(new Uint8Array(await read.arrayBuffer())), sha256(bytes));

  await server.call('PUT', `${api}/files?path=/a/empty%20%26%20%C3%BC`, { raw: '' });
  const { json } = await server.call('GET', `${api}/files/list?path=/a`);
  assert.deepEqual(json.entries.map(({ name, type }) => [name, type]).sort(), [
    ['b', 'directory'],
    ['empty & ü', 'file'],
  ]);
  assert.equal((await server.fetch('GET', `${api}/files?path=/a/empty%20%26%20%C3%BC`)).status, 200);
  assert.equal((await server.call('DELETE', `${api}/files?path=/a`)).status, 409, 'not without recursive');
  assert.equal((await server.call('DELETE', `${api}/files?path=/a&recursive=true`)).status, 200);
  assert.equal((await server.call('GET', `${api}/files/list?path=/a`)).status, 404);
});

test('what goes wrong has its status and the path', async () => {
  await using server = await ApiServer.start({ maxFileBytes: 10 });
  const api = await server.sandbox();
  await server.call('PUT', `${api}/files?path=/d/f`, { raw: 'x' });
  for (const [method, path, status] of [
    ['GET', 'files?path=/none', 404],
    ['GET', 'files?path=/d', 409],
    ['GET', 'files/list?path=/none', 404],
    ['GET', 'files/list?path=/d/f', 409],
    ['DELETE', 'files?path=/none', 404],
    ['GET', 'files', 400],
    ['GET', 'files?path=/a%00b', 400],
    ['GET', 'files?path=../etc/passwd', 400],
  ] as const) {
    const answer = await server.call(method, `${api}/${path}`);
    assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`);
    assert.equal(answer.json.error.path, 'path');
  }
  const big = await server.call('PUT', `${api}/files?path=/d/big`, { raw: 'x'.repeat(11) });
  assert.equal(big.status, 413);
  assert.equal(
    (await server.call('GET', `${api}/files?path=/d/big`)).status,
    404,
    'nothing of it was written',
  );
  assert.equal((await server.call('PUT', `${api}/files?path=/d`, { raw: 'x' })).status, 409);
});
