import assert from 'node:assert/strict';
import { request } from 'node:http';
import { test } from 'node:test';
import { ApiServer } from './testing/api-server.ts';

const sandboxes = '/modbox/v1/sandboxes';

test('no key, a wrong key and a key of less reach are told apart', async () => {
  await using server = await ApiServer.start();
  const one = await server.sandbox('one');
  const two = await server.sandbox('two');
  const keyOf = (path: string) => server.keyOf(path.split('/')[2] ?? '');
  const exec = (path: string, key: string | null) =>
    server.call('POST', `${path}/exec`, { key, body: { argv: ['true'] } });

  const wrongSecret = server.token.replace(/:as-./, ':as-x');
  for (const key of [server.apiKey, server.token, keyOf(one)])
    assert.equal((await exec(one, key)).status, 200);
  for (const key of [null, 'wrong', wrongSecret, 'wrong:secret', ':', keyOf('sb-nobody')]) {
    const { status, headers, json } = await exec(one, key);
    assert.equal(status, 401);
    assert.equal(headers.get('www-authenticate'), 'Bearer');
    assert.equal(json.error.code, 'unauthenticated');
  }
  assert.equal((await exec(one, keyOf(two))).status, 403);
  assert.equal(
    (await exec('/sandboxes/sb-nobody/modbox/api', keyOf(two))).status,
    403,
    'not even that it is missing',
  );
  assert.equal((await exec('/sandboxes/sb-nobody/modbox/api', server.apiKey)).status, 404);

  assert.equal((await server.call('GET', sandboxes, { key: null })).status, 401);
  assert.equal((await server.call('GET', sandboxes, { key: wrongSecret })).status, 401);
  for (const key of [server.apiKey, keyOf(one)]) {
    assert.equal((await server.call('GET', sandboxes, { key })).status, 403);
  }
});

test('a token does what its scope allows, and so do the keys that it gives, until it is revoked', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox('one');
  const { tokenId, bearer, apiKey } = server.issue('read');
  const exec = (key: string) => server.call('POST', `${api}/exec`, { key, body: { argv: ['true'] } });
  const seen = await server.call('GET', `${sandboxes}/one`, { key: bearer });
  assert.equal(seen.status, 200);
  const provision = await server.call('POST', sandboxes, { key: bearer, body: { taskId: 'two' } });
  assert.deepEqual([provision.status, provision.json.error.code], [403, 'scope-missing']);
  assert.match(provision.json.error.message, /scope 'sandboxes'; this one has 'read'/);
  for (const key of [bearer, apiKey, seen.json.apiKey]) {
    assert.equal((await server.call('GET', `${api}/processes`, { key })).status, 200);
    assert.equal((await exec(key)).status, 403);
  }
  const worker = server.issue('sandboxes');
  const theirs = (await server.call('GET', `${sandboxes}/one`, { key: worker.bearer })).json.apiKey;
  assert.equal((await exec(theirs)).status, 200);

  const sleeping = { key: theirs, body: { argv: ['sleep', '60'] } };
  const { processId } = (await server.call('POST', `${api}/processes`, sleeping)).json;
  const logs = await fetch(`${server.url}${api}/processes/${processId}/logs/stream`, {
    headers: { authorization: `Bearer ${theirs}` },
  });
  server.tokens.revoke(worker.tokenId);
  await assert.rejects(logs.text(), 'the stream is broken off');
  assert.equal((await exec(theirs)).status, 401);
  assert.equal((await exec(seen.json.apiKey)).status, 403, 'the other token is as good as it was');
  server.tokens.revoke(tokenId);
  for (const key of [bearer, apiKey, seen.json.apiKey])
    assert.equal((await server.call('GET', `${api}/processes`, { key })).status, 401);
});

test('a malformed body is 400 with the path of the field', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox();
  const provision = { taskId: 't', imageId: 'base' };
  for (const [path, body, field] of [
    [sandboxes, {}, 'taskId'],
    [sandboxes, { ...provision, taskId: '' }, 'taskId'],
    [sandboxes, { ...provision, taskId: 'a\nb' }, 'taskId'],
    [sandboxes, { ...provision, taskId: 'sb-00000000000000000000000000' }, 'taskId'],
    [sandboxes, { ...provision, ttlSeconds: 0 }, 'ttlSeconds'],
    [sandboxes, { ...provision, ttlSeconds: '60' }, 'ttlSeconds'],
    [sandboxes, { ...provision, ttlSecond: 60 }, 'ttlSecond'],
    [sandboxes, { ...provision, envVars: { A: 1 } }, 'envVars.A'],
    [sandboxes, { ...provision, envVars: { 'A=B': '1' } }, 'envVars.A=B'],
    [sandboxes, [], 'body'],
    [`${api}/exec`, {}, 'command'],
    [`${api}/exec`, { command: 'true', argv: ['true'] }, 'command'],
    [`${api}/exec`, { command: 'a\0b' }, 'command'],
    [`${api}/exec`, { argv: [] }, 'argv'],
    [`${api}/exec`, { argv: [''] }, 'argv'],
    [`${api}/exec`, { argv: ['echo', 1] }, 'argv.1'],
    [`${api}/exec`, { command: 'true', cwd: 'relative' }, 'cwd'],
    [`${api}/exec`, { command: 'true', cwd: '/missing' }, 'cwd'],
    [`${api}/exec`, { command: 'true', timeoutMs: -1 }, 'timeoutMs'],
    [`${api}/exec`, { command: 'x'.repeat(131_072) }, 'command'],
    [`${api}/exec/stream`, { command: '' }, 'command'],
    [`${api}/processes`, { argv: 'ls' }, 'argv'],
    [`${api}/processes/bg-x/kill`, { signal: 'SIGNOPE' }, 'signal'],
  ] as const) {
    const { status, json, text } = await server.call('POST', path, { body });
    assert.equal(status, 400, `${JSON.stringify(body).slice(0, 80)} gave ${status} ${text}`);
    assert.equal(json.error.path, field, text);
  }
  const notJson = { raw: '{', headers: { 'content-type': 'application/json' } };
  assert.equal((await server.call('POST', `${api}/exec`, notJson)).status, 400);
  const form = { raw: 'a=b', headers: { 'content-type': 'text/plain' } };
  assert.equal((await server.call('POST', `${api}/exec`, form)).status, 400);
  assert.equal((await server.call('GET', `${api}/files?path=relative`)).json.error.path, 'path');
  assert.equal((await server.call('GET', `${sandboxes}?limit=0`)).json.error.path, 'limit');
});

test('environments are refused by the name of the variable, in the words of the bound, whichever call has them', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox();
  const many = Object.fromEntries(Array.from({ length: 257 }, (_, index) => [`K${index}`, '']));
  const large = Object.fromEntries(
    Array.from({ length: 17 }, (_, index) => [`K${index}`, 'x'.repeat(32_768)]),
  );
  for (const [env, field, words] of [
    [{ 'my.var': '1' }, '.my.var', /a variable has a name of letters/],
    [{ '1A': '1' }, '.1A', /not starting with a digit/],
    [{ A: 'ü'.repeat(16_385) }, '.A', /at most 32768 bytes/],
    [{ A: 'a\0b' }, '.A', /NUL/],
    [many, '', /at most 256 variables/],
    [large, '', /at most 524288 bytes in all/],
  ] as const) {
    for (const [path, name, body] of [
      [sandboxes, 'envVars', { taskId: 't', imageId: 'base', envVars: env }],
      [`${api}/exec`, 'env', { argv: ['true'], env }],
      [`${api}/processes`, 'env', { argv: ['true'], env }],
    ] as const) {
      const { status, json } = await server.call('POST', path, { body });
      assert.equal(status, 400);
      assert.equal(json.error.path, `${name}${field}`);
      assert.match(json.error.message, words);
      assert.doesNotMatch(json.error.message, /secret/i);
    }
  }
  const most = Object.fromEntries(
    Array.from({ length: 15 }, (_, index) => [`K${index}`, 'x'.repeat(32_768)]),
  );
  const { json } = await server.call('POST', `${api}/exec`, {
    body: { command: 'printf %s "$K0$K14" | wc -c', env: most },
  });
  assert.equal(json.stdout, '65536\n', 'what the bounds allow arrives');
});

test('too large is 413, an unknown path 404, and no answer has a stack', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox();
  const big = await server.call('POST', `${api}/exec`, {
    body: { command: 'cat', stdin: 'x'.repeat(9 << 20) },
  });
  assert.equal(big.status, 413);
  assert.equal(big.json.error.code, 'too-large');
  assert.equal((await server.call('GET', '/modbox/v2/nothing')).status, 404);
  assert.equal((await server.call('GET', `${api}/exec`)).status, 404);
  for (const { status, body } of server.answers) {
    assert.ok(status < 500, body);
    assert.doesNotMatch(body, /\.ts:\d+|node_modules/);
  }
});

test('a failure of our own is a 500 without details, which the log has', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox('t');
  server.of('t').exec = async () => {
    throw new TypeError('undefined is not a sandbox at /srv/x.ts:1');
  };
  const { status, text } = await server.call('POST', `${api}/exec`, { body: { argv: ['true'] } });
  assert.equal(status, 500);
  assert.doesNotMatch(text, /undefined is not/);
  assert.ok(server.domain.log.some((line) => JSON.stringify(line).includes('undefined is not a sandbox')));
});

test('URLs lead back by the name the caller used; a Host header that is none is not repeated', async () => {
  await using server = await ApiServer.start();
  await server.sandbox('t');
  const urlWith = (host: string) =>
    new Promise<string>((resolve, reject) => {
      const headers = { host, authorization: `Bearer ${server.token}` };
      request(`${server.url}${sandboxes}/t`, { headers, agent: false }, async (response) => {
        let text = '';
        for await (const chunk of response) text += String(chunk);
        resolve((JSON.parse(text) as { sandboxUrl: string }).sandboxUrl);
      })
        .on('error', reject)
        .end();
    });
  assert.match(
    await urlWith('skerry.example.org:7423'),
    /^http:\/\/skerry\.example\.org:7423\/sandboxes\/sb-/,
  );
  assert.match(await urlWith('[::1]:7423'), /^http:\/\/\[::1\]:7423\//);
  assert.match(await urlWith('evil/@"><'), /^http:\/\/127\.0\.0\.1:\d+\//);
});

test('pages of other origins may call it, with their own keys', async () => {
  await using server = await ApiServer.start();
  const preflight = await server.fetch('OPTIONS', sandboxes, {
    key: null,
    headers: { origin: 'https://example.org', 'access-control-request-method': 'POST' },
  });
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers.get('access-control-allow-origin'), '*');
  assert.match(preflight.headers.get('access-control-allow-headers') ?? '', /authorization/);
  const answer = await server.fetch('GET', sandboxes, { headers: { origin: 'https://example.org' } });
  assert.equal(answer.headers.get('access-control-allow-origin'), '*');
  assert.equal(answer.headers.get('access-control-allow-credentials'), null);
});
