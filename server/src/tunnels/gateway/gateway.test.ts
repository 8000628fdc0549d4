/** How requests and answers pass, and what is said when they cannot. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import { test } from 'node:test';
import { type Echoed, echo, serveGateway } from './testing/served-gateway.ts';

const MiB = 1 << 20;

test('every method passes with its path, its body and its headers, in both versions of HTTP', async () => {
  await using served = await serveGateway({ program: echo() });
  const { url, bearer } = served;
  for (const method of ['GET', 'DELETE', 'POST', 'PUT', 'PATCH', 'OPTIONS', 'PROPFIND']) {
    for (const body of method === 'GET' ? [undefined] : [undefined, 'some', '']) {
      const headers = { ...bearer, 'x-mine': 'a, b' };
      const answer = await fetch(`${url}/p%20q/../r//?a=%2F&b`, {
        method,
        headers,
        ...(body !== undefined && { body }),
      });
      const told = (await answer.json()) as Echoed;
      assert.deepEqual(
        [answer.status, told.method, told.url, told.body, told.headers['x-mine']],
        [200, method, '/r//?a=%2F&b', body ?? '', 'a, b'],
      );
      const { 'content-length': length, 'transfer-encoding': coding } = told.headers;
      const says =
        method === 'GET' || (!body && /DELETE|OPTIONS/.test(method))
          ? [undefined, '0']
          : [`${body?.length ?? 0}`];
      assert.ok(says.includes(length), `${method} ${body}: ${length}`);
      assert.equal(coding, undefined);
    }
  }
  const session = http2.connect(url);
  for (const [method, body] of [
    ['GET', ''],
    ['POST', 'some'],
    ['POST', ''],
  ] as const) {
    const stream = session.request({ ':method': method, ':path': '/h2', ...bearer });
    if (method !== 'GET') stream.end(body);
    const told = JSON.parse(await text(stream)) as Echoed;
    assert.deepEqual([told.method, told.url, told.body], [method, '/h2', body]);
  }
  session.close();
});

test('status, headers and a missing body come back as the program gave them', async () => {
  const program = http.createServer((request, response) => {
    switch (request.url) {
      case '/many':
        response.writeHead(418, 'Short And Stout', [
          ...['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'X-Odd', 'caf\u00e9', 'X-Hop', 'gone'],
          ...['Connection', 'X-Hop', 'Proxy-Authenticate', 'Basic'],
        ]);
        response.end(Buffer.from('teapot'));
        break;
      case '/head':
        response.writeHead(200, { 'content-length': 12345 }).end();
        break;
      default:
        response.writeHead(204).end();
    }
  });
  await using served = await serveGateway({ program });
  const { url, bearer: headers } = served;
  const many = await fetch(`${url}/many`, { headers });
  assert.deepEqual([many.status, many.statusText, await many.text()], [418, 'Short And Stout', 'teapot']);
  assert.deepEqual(many.headers.getSetCookie(), ['a=1', 'b=2']);
  assert.equal(many.headers.get('x-odd'), 'caf\u00e9');
  assert.equal(many.headers.get('x-hop'), null);
  assert.equal(many.headers.get('proxy-authenticate'), null);
  const head = await fetch(`${url}/head`, { method: 'HEAD', headers });
  assert.deepEqual([head.headers.get('content-length'), await head.text()], ['12345', '']);
  assert.equal((await fetch(url, { headers })).status, 204);
});

test('one connection carries many requests, each looked at for itself', async () => {
  await using served = await serveGateway({ program: echo() });
  const get = (path: string, more: string) => `GET ${path} HTTP/1.1\r\nHost: a.test\r\n${more}\r\n`;
  const auth = `Authorization: Bearer ${served.token}\r\n`;
  const answers = await served.raw(
    get('/1', auth) + get('/2', '') + get('/3', `${auth}Connection: close\r\n`),
  );
  assert.deepEqual(answers.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 401', 'HTTP/1.1 200']);
  assert.deepEqual(answers.match(/"url":"[^"]*"/g), ['"url":"/1"', '"url":"/3"']);
});

test('large bodies pass both ways and are not kept: who reads slowly holds the sender back', async () => {
  const size = 64 * MiB;
  let taken = 0;
  const program = http.createServer(async (request, response) => {
    if (request.method === 'GET') {
      for (let sent = 0; sent < size; sent += MiB) {
        if (!response.write(Buffer.alloc(MiB, sent / MiB))) await once(response, 'drain');
        taken = sent + MiB;
      }
      return response.end();
    }
    const all = await buffer(request);
    return response.end(`${all.length} ${all.at(-1)}`);
  });
  await using served = await serveGateway({ program });
  const { port, bearer: headers } = served;
  const download = http.get({ port, host: '127.0.0.1', path: '/', headers });
  const [answer] = (await once(download, 'response')) as [http.IncomingMessage];
  let read = 0;
  let most = 0;
  for await (const chunk of answer) {
    read += chunk.length;
    most = Math.max(most, taken - read);
    await new Promise(setImmediate); // others are faster than this
  }
  assert.equal(read, size);
  assert.ok(most < size / 2, `${most} bytes were taken of the program that the client had not read`);

  const upload = await fetch(served.url, { method: 'POST', headers, body: Buffer.alloc(size, 7) });
  assert.equal(await upload.text(), `${size} 7`);
});

test('events come one by one, and the header before the first', async () => {
  const asked = Promise.withResolvers<http.ServerResponse>();
  const program = http.createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    asked.resolve(response);
  });
  await using served = await serveGateway({ program });
  const answer = await fetch(served.url, { headers: served.bearer });
  assert.equal(answer.headers.get('content-type'), 'text/event-stream');
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  const source = await asked.promise;
  for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
    source.write(event);
    assert.equal((await reader?.read())?.value, event);
  }
  source.end();
  assert.equal((await reader?.read())?.done, true);
});

test('an answer that breaks off does not look complete, in either version', async () => {
  const program = http.createServer((_request, response) => {
    response.writeHead(200);
    response.write('half', () => response.destroy());
  });
  await using served = await serveGateway({ program });
  await assert.rejects(async () => (await fetch(served.url, { headers: served.bearer })).text());
  const session = http2.connect(served.url);
  const stream = session.request({ ':path': '/', ...served.bearer });
  await assert.rejects(text(stream));
  session.close();
});

test('a client that goes away ends what the program does for it', async () => {
  const began = Promise.withResolvers<http.ServerResponse>();
  const program = http.createServer((_request, response) => began.resolve(response));
  await using served = await serveGateway({ program });
  const gone = new AbortController();
  const asking = fetch(served.url, { headers: served.bearer, signal: gone.signal });
  const response = await began.promise;
  gone.abort();
  await assert.rejects(asking);
  if (!response.destroyed) await once(response, 'close');
});

test('a program that answers before it has read everything is heard', async () => {
  const program = net.createServer((socket) => {
    socket.once('data', () => {
      socket.pause();
      socket.write('HTTP/1.1 413 Payload Too Large\r\nContent-Length: 8\r\n\r\ntoo much');
    });
  });
  await using served = await serveGateway({ program });
  const body = 'x'.repeat(8 * MiB);
  const answer = await fetch(served.url, { method: 'POST', headers: served.bearer, body });
  assert.deepEqual([answer.status, await answer.text()], [413, 'too much']);
});

test('a client that asks whether it may send its body is told so only with a good token', async () => {
  await using served = await serveGateway({ program: echo() });
  const ask = async (token: string) => {
    const request = http.request({
      ...{ port: served.port, host: '127.0.0.1', method: 'POST' },
      headers: { authorization: `Bearer ${token}`, expect: '100-continue', 'content-length': 4 },
    });
    request.flushHeaders();
    let told = false;
    request.once('continue', () => {
      told = true;
      request.end('body');
    });
    const [answer] = (await once(request, 'response')) as [http.IncomingMessage];
    const said = await text(answer);
    request.destroy();
    return { told, status: answer.statusCode, said };
  };
  const good = await ask(served.token);
  assert.deepEqual([good.told, good.status, JSON.parse(good.said).body], [true, 200, 'body']);
  const bad = await ask('sct_a.b.c');
  assert.deepEqual([bad.told, bad.status], [false, 401]);
});

test('the server in the sandbox is waited for, and 502 says why there is none', async () => {
  await using nothing = await serveGateway({
    program: undefined,
  });
  const refused = await fetch(nothing.url, { headers: nothing.bearer });
  assert.deepEqual(
    [refused.status, await refused.text()],
    [502, 'Nothing in the sandbox listens on port 8080\n'],
  );

  const silent = net.createServer((socket) => socket.end());
  await using closes = await serveGateway({ program: silent });
  const closed = await fetch(closes.url, { headers: closes.bearer });
  assert.equal(closed.status, 502);
  assert.match(await closed.text(), /closed the connection before it answered/);

  const smtp = net.createServer((socket) => socket.end('220 mail.test ESMTP\r\n'));
  await using speaks = await serveGateway({ program: smtp });
  const other = await fetch(speaks.url, { headers: speaks.bearer });
  assert.equal(other.status, 502);
  assert.match(await other.text(), /does not speak HTTP/);
});

test('a silent connection, a dribbled header and a body that stands still are cut', async () => {
  const limits = { firstBytesTimeoutMs: 20, headerTimeoutMs: 30, bodyIdleTimeoutMs: 30 };
  await using served = await serveGateway({ program: echo(), ...limits });
  const auth = `Host: x\r\nAuthorization: Bearer ${served.token}\r\n`;
  for (const opening of [
    '',
    'P',
    'POST / HTTP/1.1\r\nHost',
    `POST / HTTP/1.1\r\n${auth}Content-Length: 9\r\n\r\nstill`,
  ]) {
    const socket = net.connect({ host: '127.0.0.1', port: served.port });
    socket.on('error', () => {}); // a reset is as good as an end
    socket.write(opening);
    await once(socket.resume(), 'close');
  }
  const session = http2.connect(served.url);
  const request = session.request({ ':method': 'POST', ...served.bearer });
  request.on('error', () => {});
  request.write('still');
  await once(request.resume(), 'close');
  assert.equal(request.rstCode, http2.constants.NGHTTP2_CANCEL);
  await once(session, 'close');
});

test('a request whose program says nothing for long is cut, in either version', async () => {
  await using served = await serveGateway({ program: http.createServer(() => {}), idleMs: 100 });
  const socket = net.connect({ host: '127.0.0.1', port: served.port });
  socket.on('error', () => {});
  socket.write(`GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${served.token}\r\n\r\n`);
  await once(socket.resume(), 'close');
  const session = http2.connect(served.url);
  const request = session.request({ ...served.bearer });
  request.on('error', () => {});
  await once(request.resume(), 'close');
  assert.equal(request.rstCode, http2.constants.NGHTTP2_CANCEL);
  session.close();
});
