import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { test } from 'node:test';
import { serveGateway } from './testing/served-gateway.ts';

/** RFC 6455, section 4.2.2. */
const accept = (key: string) =>
  createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');

interface Program {
  readonly program: http.Server;
  /** Headers of each upgrade. */
  readonly asked: http.IncomingHttpHeaders[];
  readonly sockets: Duplex[];
}

/** Greets in a websocket, then gives back the bytes of every frame as they are but without their mask. */
function websockets(): Program {
  const asked: http.IncomingHttpHeaders[] = [];
  const sockets: Duplex[] = [];
  const program = http.createServer((_request, response) => response.writeHead(426).end('websockets only'));
  program.on('upgrade', (request, socket) => {
    if (request.url === '/refuses') {
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nmine');
      return;
    }
    asked.push(request.headers);
    sockets.push(socket);
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    const protocol = request.headers['sec-websocket-protocol'];
    const lines = [
      'HTTP/1.1 101 Switching Protocols',
      'Upgrade: websocket',
      'Connection: Upgrade',
      `Sec-WebSocket-Accept: ${accept(request.headers['sec-websocket-key'] ?? '')}`,
      ...(protocol ? [`Sec-WebSocket-Protocol: ${protocol}`] : []),
    ];
    // The greeting comes in one piece with the header.
    socket.write(`${lines.join('\r\n')}\r\n\r\n${frame('hello').toString('latin1')}`, 'latin1');
    socket.on('data', (bytes: Buffer) => {
      const length = (bytes[1] ?? 0) & 0x7f;
      const mask = bytes.subarray(2, 6);
      const payload = bytes.subarray(6, 6 + length).map((byte, at) => byte ^ (mask[at % 4] ?? 0));
      if (((bytes[0] ?? 0) & 0xf) === 8) socket.end(Buffer.concat([Buffer.from([0x88, length]), payload]));
      else socket.write(frame(Buffer.from(payload).toString()));
    });
  });
  return { program, asked, sockets };
}

/** A short frame of text from a server, RFC 6455, section 5.2. */
const frame = (text: string) =>
  Buffer.concat([Buffer.from([0x81, Buffer.byteLength(text)]), Buffer.from(text)]);

/** What comes, message by message; kept from the first on. */
function messages(socket: WebSocket): () => Promise<string> {
  const queue: string[] = [];
  let wake = () => {};
  socket.addEventListener('message', ({ data }) => {
    queue.push(String(data));
    wake();
  });
  return async () => {
    while (queue.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return queue.shift() ?? '';
  };
}

const opened = (socket: WebSocket) =>
  new Promise<boolean>((resolve) => {
    socket.addEventListener('open', () => resolve(true));
    socket.addEventListener('error', () => resolve(false));
  });

test('a websocket passes both ways, with its sub-protocol and the metadata of its token', async () => {
  const { program, asked } = websockets();
  await using served = await serveGateway({ program, userMetadata: '{"id": 1}' });
  const url = `ws://127.0.0.1:${served.port}/chat?room=1&_modal_connect_token=${served.token}`;
  const socket = new WebSocket(url, 'chat.v1');
  const next = messages(socket);
  assert.ok(await opened(socket));
  assert.equal(socket.protocol, 'chat.v1');
  assert.equal(await next(), 'hello');
  for (const each of ['one', 'two', 'Zoë']) {
    socket.send(each);
    assert.equal(await next(), each);
  }
  const closed = new Promise<CloseEvent>((resolve) => socket.addEventListener('close', resolve));
  socket.close(4000, 'done');
  const { code, reason, wasClean } = await closed;
  assert.deepEqual([code, reason, wasClean], [4000, 'done', true]);
  assert.equal(asked.length, 1);
  assert.equal(asked[0]?.['x-verified-user-data'], '{"id": 1}');
  assert.doesNotMatch(JSON.stringify(asked), /sct_/);
});

test('without a good token there is no websocket, and why is told in an ordinary answer', async () => {
  const { program, asked } = websockets();
  await using served = await serveGateway({ program });
  const upgrade =
    'Host: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n';
  const answer = await served.raw(`GET / HTTP/1.1\r\n${upgrade}\r\n`);
  assert.match(answer, /^HTTP\/1\.1 401 Unauthorized\r\n.*opens with a connect token only/s);
  assert.equal(asked.length, 0);
  const bad = new WebSocket(`ws://127.0.0.1:${served.port}/?_modal_connect_token=sct_a.b.c`);
  assert.equal(await opened(bad), false);
  const auth = `Authorization: Bearer ${served.token}\r\n`;
  const refused = await served.raw(`GET /refuses HTTP/1.1\r\n${upgrade}${auth}\r\n`);
  assert.match(refused, /^HTTP\/1\.1 403 Forbidden\r\n.*mine$/s, "the program's own refusal");
  const cookie = `Cookie: _modal_connect_token=${served.token}\r\n`;
  const socket = net.connect({ host: '127.0.0.1', port: served.port });
  socket.write(`GET / HTTP/1.1\r\n${upgrade}${cookie}\r\n`);
  const [first] = (await once(socket, 'data')) as [Buffer];
  assert.match(first.toString('latin1'), /^HTTP\/1\.1 101 /);
  socket.destroy();
});

test('when one side breaks off so does the other', async () => {
  const { program, sockets } = websockets();
  await using served = await serveGateway({ program });
  const connect = async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${served.port}/?_modal_connect_token=${served.token}`);
    const closed = new Promise<CloseEvent>((resolve) => socket.addEventListener('close', resolve));
    assert.equal(await messages(socket)(), 'hello');
    return { closed };
  };
  const { closed } = await connect();
  sockets[0]?.destroy();
  assert.equal((await closed).wasClean, false);
  const raw = net.connect({ host: '127.0.0.1', port: served.port });
  raw.write(
    `GET /?_modal_connect_token=${served.token} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
  );
  await once(raw, 'data');
  raw.destroy();
  const [, second] = sockets;
  assert.ok(second);
  if (!second.destroyed) await once(second, 'close');
});
