/** Passwords of AWS's registries, from something that checks signatures as AWS does. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { ecrLogin, isAwsRegion, isEcr } from './ecr.ts';
import { startEcr } from './testing-ecr.ts';

const KEY = { accessKeyId: 'AKIA1', secretAccessKey: 'a/secret+key', region: 'eu-west-1' };
const never = new AbortController().signal;

test('a key gives the login, one that lasts only for hours too; another does not', async () => {
  for (const key of [KEY, { ...KEY, sessionToken: 'for+some/hours==' }]) {
    await using aws = await startEcr(key, 'pass:word');
    const login = (more = {}) => ecrLogin({ ...key, ...more }, aws.endpoint, 10_000, never);
    assert.deepEqual(await login(), { username: 'AWS', password: 'pass:word' });
    const refused = {
      answered: true,
      message: 'AWS gives no password for it: The security token included is invalid.',
    };
    assert.deepEqual(await login({ secretAccessKey: 'another' }), refused);
    assert.deepEqual(await login({ region: 'eu-west-2' }), refused);
    assert.deepEqual(await login({ sessionToken: 'of somebody else' }), refused);
  }
});

test('what is no answer of AWS, too much of one, one that leads elsewhere, and none at all', async (t) => {
  const answers = new Map<string, () => [number, string, object?]>([
    ['nothing', () => [200, '{}']],
    ['no token', () => [200, JSON.stringify({ authorizationData: [{ authorizationToken: '' }] })]],
    ['no JSON', () => [500, '<html>']],
    ['too much', () => [200, 'x'.repeat(100_000)]],
    ['elsewhere', () => [302, '', { location: 'http://127.0.0.1:9/' }]],
  ]);
  const server = createServer((request, response) => {
    const answer = answers.get(decodeURIComponent(request.url?.slice(1) ?? ''));
    if (!answer) return; // it says nothing
    const [status, body, headers = {}] = answer();
    response.writeHead(status, { ...headers }).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  t.after(() => server.closeAllConnections());
  const { port } = server.address() as { port: number }; // of a listening TCP server
  const told = async (path: string, timeoutMs = 10_000) => {
    const got = await ecrLogin(KEY, `http://127.0.0.1:${port}/${encodeURIComponent(path)}`, timeoutMs, never);
    return 'message' in got ? `${got.answered} ${got.message}` : 'a login';
  };
  assert.match(await told('nothing'), /^true .*its answer has none/);
  assert.match(await told('no token'), /^true .*its answer has none/);
  assert.match(await told('no JSON'), /^false .*HTTP status 500/);
  assert.match(await told('too much'), /^false .*too much/);
  assert.match(await told('elsewhere'), /^false .*cannot be reached/);
  assert.match(await told('silence', 50), /^false .*cannot be reached/);
});

test("which registries and regions are AWS's", () => {
  const regions = ['eu-west-1', 'us-gov-east-1', 'cn-north-1', 'ap-southeast-12'];
  for (const region of regions) assert.ok(isAwsRegion(region), region);
  for (const region of ['', 'c', 'eu-west-1.evil.example', 'eu-west-1/', 'EU-WEST-1', 'eu_west_1'])
    assert.ok(!isAwsRegion(region), region);
  for (const host of [
    '123456789012.dkr.ecr.eu-west-1.amazonaws.com',
    '123456789012.dkr-ecr.us-east-1.on.aws',
  ])
    assert.ok(isEcr(host), host);
  for (const host of [
    '123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example',
    'evil.example',
    '12.dkr.ecr.eu-west-1.amazonaws.com',
    '123456789012.dkr.ecr.eu-west-1.amazonaws.com:444',
  ])
    assert.ok(!isEcr(host), host);
});
