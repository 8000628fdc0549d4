import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { buffer, json, text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { createLogger } from '../telemetry/logger.ts';
import { RequestForwarder } from './forward-requests.ts';
import { listen } from './listener.ts';
import type { Peer } from './peer-link.ts';
import { createPort } from './port.ts';
import { type HttpRoute, routeRequests } from './routes.ts';
import { makeCertificate } from './testing/certificate.ts';
import { isEncrypted } from './tunnel.ts';

const logger = createLogger('silent');
const HOST = '127.0.0.1';

interface Asked {
  readonly about: readonly string[];
  readonly call: string;
}

async function serve(
  t: TestContext,
  routes: readonly HttpRoute[],
  { peer, key, asked }: { peer: () => Peer | undefined; key: Uint8Array; asked?: Asked[] },
) {
  const certificate = await makeCertificate();
  const forwarder = new RequestForwarder({ key, logger, patienceMs: 1 });
  const elsewhere = {
    peerOf(about: readonly string[], call: string) {
      asked?.push({ about, call });
      return peer();
    },
    forwarder,
  };
  const port = createPort({
    listener: await listen({ host: HOST, port: 0 }),
    tls: certificate,
    plaintextFrom: 'machine',
    onRequest: routeRequests({
      ...{ rpc: { owns: () => false, handle: () => {} }, routes, logger, elsewhere },
      sandboxIn: (path) => /^\/of\/(\w+)/.exec(path)?.[1],
    }),
    onUpgrade: (_request, socket) => socket.destroy(),
    logger,
  });
  const close = async () => {
    forwarder.close();
    await port.close(0);
  };
  t.after(close);
  return {
    ...{ forwarder, close, port: port.address.port },
    peer: { host: HOST, port: port.address.port, fingerprint: certificate.fingerprint },
  };
}

/** Two servers, of which the first has the second answer all but `/here`. */
async function twoServers(t: TestContext, handle: HttpRoute['handle'], disagreeing = false) {
  const key = randomBytes(32);
  let first: Peer | undefined;
  const back = await serve(t, [{ prefix: '/', handle }], {
    key,
    peer: () => (disagreeing ? first : undefined),
  });
  const asked: Asked[] = [];
  const here: HttpRoute = { prefix: '/here', here: true, handle: (_, response) => void response.end('here') };
  const front = await serve(t, [here, { prefix: '/', handle }], { key, asked, peer: () => back.peer });
  first = front.peer;
  return { front, back, asked };
}

interface Sent extends https.RequestOptions {
  readonly body?: string | Buffer;
}

/** Over HTTP/1.1. */
function ask(port: number, { body, ...options }: Sent, over: typeof http | typeof https = http) {
  return new Promise<IncomingMessage>((resolve, reject) => {
    const request = over.request({
      ...{ host: HOST, port, path: '/of/it?a=b', agent: false, rejectUnauthorized: false, ...options },
    });
    request.on('response', resolve).on('error', reject);
    request.end(body);
  });
}

/** Over HTTP/2. */
function session(t: TestContext, port: number, scheme = 'http'): http2.ClientHttp2Session {
  const opened = http2.connect(`${scheme}://${HOST}:${port}`, { rejectUnauthorized: false });
  opened.on('error', () => {});
  t.after(() => opened.destroy());
  return opened;
}

/** Tells what came. */
const tell: HttpRoute['handle'] = async (request, response) => {
  const { method, url, headers } = request;
  const body = (await buffer(request)).length;
  response.setHeader('set-cookie', ['a=1', 'b=2']);
  response.setHeader('x-name', headers['x-own'] ?? '');
  response.statusCode = 201;
  response.end(JSON.stringify({ method, url, headers, body, encrypted: isEncrypted(request) }));
};

interface Told {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly body: number;
  readonly encrypted: boolean;
}

test('a request is answered by the other server as if it had come there', async (t) => {
  const { front, asked } = await twoServers(t, tell);
  const name = Buffer.from('größe').toString('latin1');
  const headers = { authorization: 'Bearer x', connection: 'close, x-hop', 'x-hop': '1', 'x-own': name };
  const answer = await ask(front.port, { method: 'POST', headers, body: 'twelve bytes' });
  assert.equal(answer.statusCode, 201);
  assert.deepEqual(answer.headers['set-cookie'], ['a=1', 'b=2']);
  assert.equal(answer.headers['x-content-type-options'], 'nosniff');
  assert.equal(Buffer.from(`${answer.headers['x-name']}`, 'latin1').toString(), name);
  assert.equal(answer.headers['skerry-whole'], undefined);
  const told = (await json(answer)) as Told;
  const { authorization, 'x-own': own, 'x-hop': hop, ':authority': authority } = told.headers;
  assert.deepEqual(
    { ...told, headers: { authorization, own, hop, authority } },
    {
      ...{ method: 'POST', url: '/of/it?a=b', body: 12, encrypted: false },
      headers: { authorization: 'Bearer x', own: name, hop: undefined, authority: `${HOST}:${front.port}` },
    },
  );
  assert.equal(told.headers['skerry-forwarded'], undefined);
  assert.deepEqual(asked, [{ about: ['it'], call: 'POST /of/it' }]);
  assert.deepEqual(answer.trailers, {});
});

test('how the client came is known, whatever it says of that itself', async (t) => {
  const { front, back } = await twoServers(t, tell);
  const headers = { 'skerry-forwarded': `${randomBytes(32).toString('base64url')} tls` };
  for (const { port } of [front, back]) {
    const over1 = async (over: typeof http | typeof https) =>
      ((await json(await ask(port, { headers }, over))) as Told).encrypted;
    assert.deepEqual([await over1(http), await over1(https)], [false, true]);
    for (const scheme of ['http', 'https']) {
      const stream = session(t, port, scheme).request({ ':path': '/of/it', ...headers });
      const { encrypted, headers: seen } = (await json(stream)) as Told;
      assert.equal(encrypted, scheme === 'https');
      assert.equal(seen['skerry-forwarded'], undefined);
      assert.equal(seen[':authority'], `${HOST}:${port}`);
    }
  }
});

test('what HTTP/2 has not is nobody, or not passed on: the connection is for all clients', async (t) => {
  const { front } = await twoServers(t, tell);
  for (const host of ['a"b', 'a b', 'x/y', `${'x'.repeat(254)}`]) {
    const told = (await json(await ask(front.port, { headers: { host } }))) as Told;
    assert.equal(told.headers[':authority'], `${HOST}:${front.port}`);
  }
  for (const path of ['http://elsewhere.test/of/it', '*'])
    assert.equal((await ask(front.port, { path })).statusCode, 404);
});

test('answers without a body are whole, and so are those with trailers', async (t) => {
  const { front } = await twoServers(t, (request, response) => {
    response.statusCode = Number(/\d+$/.exec(request.url ?? '')?.[0] ?? 200);
    if (request.url === '/trailers') response.addTrailers({ 'x-end': 'yes' });
    response.end(response.statusCode === 200 && request.method !== 'HEAD' ? 'body' : '');
  });
  for (const status of [204, 304, 200]) {
    const answer = await ask(front.port, { path: `/${status}`, method: status === 200 ? 'HEAD' : 'DELETE' });
    assert.equal(answer.statusCode, status);
    assert.equal(await text(answer), '');
  }
  const stream = session(t, front.port).request({ ':path': '/trailers' });
  const trailers = once(stream, 'trailers');
  assert.equal(await text(stream), 'body');
  const [{ 'x-end': end, 'skerry-whole': whole }] = await trailers;
  assert.deepEqual([end, whole], ['yes', undefined]);
});

test('events come one by one, and end at the other server when their reader leaves', async (t) => {
  const more = Promise.withResolvers<void>();
  const left = Promise.withResolvers<void>();
  const { front } = await twoServers(t, async (_request, response) => {
    response.once('close', () => left.resolve());
    response.setHeader('content-type', 'text/event-stream');
    (response as http.ServerResponse).flushHeaders(); // HTTP/2 has it too
    await more.promise;
    (response as http.ServerResponse).write('data: 1\n\n');
  });
  const answer = await ask(front.port, {});
  assert.equal(answer.headers['content-type'], 'text/event-stream');
  more.resolve();
  const [event] = await once(answer, 'data');
  assert.equal(event.toString(), 'data: 1\n\n');
  answer.destroy();
  await left.promise;
});

for (const [how, end] of [
  ['destroys its answer', undefined],
  ['is gone', 'close'],
] as const) {
  test(`an answer is cut, not ended, when the other server ${how}`, async (t) => {
    let cut = () => {};
    const { front, back } = await twoServers(t, (_request, response) => {
      (response as http.ServerResponse).write('half'); // both kinds can
      cut = () => response.destroy();
    });
    const over1 = await ask(front.port, {});
    await once(over1, 'data');
    if (end) await back.close();
    else cut();
    await assert.rejects(text(over1), { code: 'ECONNRESET' });
    if (end) return;
    const over2 = session(t, front.port).request({ ':path': '/of/it' });
    await once(over2, 'data');
    let trailers: unknown;
    over2.on('trailers', (received) => {
      trailers = received;
    });
    cut();
    over2.resume();
    await once(over2, 'close');
    assert.equal(trailers, undefined);
  });
}

test('a large body passes, and one that is not read to its end leaves its sender the answer', async (t) => {
  const { front } = await twoServers(t, (request, response) => {
    if (request.url !== '/early') return tell(request, response);
    response.statusCode = 413;
    response.end('too large');
  });
  const body = Buffer.alloc(20 << 20, 'x');
  const answer = await ask(front.port, { method: 'PUT', body });
  assert.equal(((await json(answer)) as Told).body, body.length);
  const early = await ask(front.port, { method: 'PUT', path: '/early', body });
  assert.deepEqual([early.statusCode, await text(early)], [413, 'too large']);
});

test('whoever breaks a body off breaks it off at the other server', async (t) => {
  const reached = Promise.withResolvers<void>();
  const broken = Promise.withResolvers<void>();
  const { front } = await twoServers(t, (request, response) => {
    response.once('close', () => broken.resolve());
    request.once('data', () => reached.resolve());
  });
  const headers = { 'content-length': '100' };
  const request = http.request({ host: HOST, port: front.port, path: '/of/it', method: 'PUT', headers });
  request.on('error', () => {});
  request.write('some');
  await reached.promise;
  request.destroy();
  await broken.promise;
});

test('a server that is not there is 503, and what every server answers itself goes on', async (t) => {
  const { front, back } = await twoServers(t, tell);
  await back.close();
  const answer = await ask(front.port, {});
  assert.deepEqual([answer.statusCode, answer.headers['retry-after']], [503, '1']);
  assert.match(await text(answer), /"code":"unavailable"/);
  assert.equal(await text(await ask(front.port, { path: '/here/too' })), 'here');
});

test('what is forwarded is not forwarded again', async (t) => {
  const { front } = await twoServers(t, tell, true);
  const answer = await ask(front.port, {});
  assert.equal(answer.statusCode, 503);
  assert.match(await text(answer), /just begun/);
});

test('what a peer was asked can be cut, and it is found again', async (t) => {
  const { front, back } = await twoServers(t, (request, response) => {
    if (request.url === '/wait')
      (response as http.ServerResponse).write('half'); // both kinds can
    else response.end('whole');
  });
  const waiting = await ask(front.port, { path: '/wait' });
  await once(waiting, 'data');
  front.forwarder.cut(back.peer);
  await assert.rejects(text(waiting), { code: 'ECONNRESET' });
  assert.equal(await text(await ask(front.port, {})), 'whole');
});
