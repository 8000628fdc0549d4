/** What a client and the program could read differently does not pass, or passes as one thing only. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import { test } from 'node:test';
import { type ServedGateway, serveGateway } from './testing/served-gateway.ts';

/** A program that keeps what came to it, byte by byte, and takes the first header for a request. */
function recorder(): { readonly program: net.Server; readonly came: string[] } {
  const came: string[] = [];
  const program = net.createServer((socket) => {
    const index = came.push('') - 1;
    let answered = false;
    socket.on('error', () => {});
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      came[index] += chunk;
      if (answered || !came[index]?.includes('\r\n\r\n')) return;
      answered = true;
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
  });
  return { program, came };
}

const auth = ({ token }: ServedGateway) => `Host: a.test\r\nAuthorization: Bearer ${token}\r\n`;
const SECOND = 'GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n';

test('a request whose length can be read in two ways is refused', async () => {
  const { program, came } = recorder();
  await using served = await serveGateway({ program });
  const headers = [
    'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n',
    'Transfer-Encoding: chunked\r\nContent-Length: 4\r\n',
    'Content-Length: 4\r\nContent-Length: 5\r\n',
    'Content-Length: 4, 5\r\n',
    'Content-Length: +4\r\n',
    'Content-Length: 0x4\r\n',
    'Transfer-Encoding: xchunked\r\n',
    'Transfer-Encoding: chunked, identity\r\n',
    'Transfer-Encoding: gzip, chunked\r\n',
    'Transfer-Encoding: chunked, chunked\r\n',
    'Transfer-Encoding : chunked\r\n',
    'Transfer-Encoding: chunked\r\n x\r\n',
    'X: y\nTransfer-Encoding: chunked\r\n',
    'X: y\rTransfer-Encoding: chunked\r\n',
    'X: a\0b\r\n',
    ' X: y\r\n',
    'X Y: z\r\n',
    'Host: b.test\r\n',
  ];
  for (const each of headers) {
    const answer = await served.raw(
      `POST / HTTP/1.1\r\n${auth(served)}${each}Connection: close\r\n\r\n0\r\n\r\n${SECOND}`,
    );
    assert.match(answer, /^HTTP\/1\.1 400/, JSON.stringify(each));
    assert.equal(answer.match(/HTTP\/1\.1 \d/g)?.length, 1, JSON.stringify(each));
  }
  assert.equal(came.join(''), '');
});

test('what follows a request is one of its own, without a token of its own', async () => {
  const { program, came } = recorder();
  await using served = await serveGateway({ program });
  for (const [body, passed] of [
    ['Content-Length: 4\r\n\r\nbody', 'body'],
    ['Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n', '4\r\nbody\r\n0\r\n\r\n'],
    [
      'Transfer-Encoding: chunked\r\n\r\n4;ext=1\r\nbody\r\n0\r\nTrailer: 1\r\n\r\n',
      '4\r\nbody\r\n0\r\n\r\n',
    ],
  ]) {
    came.length = 0;
    const end = SECOND.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n');
    const answer = await served.raw(`POST / HTTP/1.1\r\n${auth(served)}${body}${end}`);
    assert.deepEqual(answer.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 401']);
    assert.equal(came.length, 1);
    assert.ok(came[0]?.endsWith(`\r\n\r\n${passed}`), came[0]);
    assert.doesNotMatch(came[0] ?? '', /admin|Trailer|ext/);
  }
});

test('a program gets one request on a connection, and no say over the next', async () => {
  const seen: number[] = [];
  const program = net.createServer((socket) => {
    socket.on('error', () => {});
    let requests = 0;
    const index = seen.push(0) - 1;
    socket.on('data', (chunk) => {
      requests += chunk.toString().match(/HTTP\/1\.1\r\n/g)?.length ?? 0;
      seen[index] = requests;
      // An answer to a request that nobody made.
      socket.write(
        'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo',
      );
    });
  });
  await using served = await serveGateway({ program });
  const request = `GET / HTTP/1.1\r\n${auth(served)}`;
  const answer = await served.raw(`${request}\r\n${request}Connection: close\r\n\r\n`);
  assert.doesNotMatch(answer, /two/);
  assert.equal(answer.match(/one/g)?.length, 2);
  assert.deepEqual(seen, [1, 1]);
});

test('no other protocol is agreed on with the program but a websocket, and nothing passes before that', async () => {
  const { program, came } = recorder();
  await using served = await serveGateway({ program });
  const h2c = `${auth(served)}Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n`;
  assert.match(await served.raw(`GET / HTTP/1.1\r\n${h2c}\r\n`), /^HTTP\/1\.1 200/);
  const websocket = `${auth(served)}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n`;
  // The program does not agree: what the client sent after its request is not the program's to see.
  const refused = await served.raw(`GET / HTTP/1.1\r\n${websocket}\r\n${SECOND}`);
  assert.deepEqual(refused.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200']);
  const posted = `POST / HTTP/1.1\r\n${websocket.replace('Upgrade\r\n', 'Upgrade, close\r\n')}Content-Length: 0\r\n\r\n`;
  assert.match(await served.raw(posted), /^HTTP\/1\.1 200/);
  assert.equal(came.length, 3);
  assert.doesNotMatch(came.join(''), /h2c|HTTP2-Settings|admin/i);
  assert.doesNotMatch(came[2] ?? '', /websocket\r\n/);
});

test('what is asked for is a path of this host, whatever form it has', async () => {
  const { program, came } = recorder();
  await using served = await serveGateway({ program });
  const first = async (line: string) => {
    came.length = 0;
    const answer = await served.raw(`${line}\r\n${auth(served)}Connection: close\r\n\r\n`);
    return [answer.split('\r\n')[0], came[0]?.split('\r\n')[0]];
  };
  const OK = 'HTTP/1.1 200 OK';
  assert.deepEqual(await first('GET http://evil.test/a?b HTTP/1.1'), [OK, 'GET /a?b HTTP/1.1']);
  assert.deepEqual(await first('GET http://evil.test HTTP/1.1'), [OK, 'GET / HTTP/1.1']);
  assert.deepEqual(await first('GET http://evil.test?_modal_connect_token= HTTP/1.1'), [
    'HTTP/1.1 401 Unauthorized',
    undefined,
  ]);
  assert.deepEqual(await first('OPTIONS * HTTP/1.1'), [OK, 'OPTIONS * HTTP/1.1']);
  assert.deepEqual(await first('GET //a/../b HTTP/1.1'), [OK, 'GET //a/../b HTTP/1.1']);
  for (const line of ['GET * HTTP/1.1', 'GET a HTTP/1.1', 'GET ftp://a/b HTTP/1.1', 'GET /a b HTTP/1.1']) {
    const [status, passed] = await first(line);
    assert.match(status ?? '', /^HTTP\/1\.1 400/, line);
    assert.equal(passed, undefined, line);
  }
  const [status, passed] = await first('CONNECT 10.0.0.1:22 HTTP/1.1');
  assert.doesNotMatch(status ?? '', / 200/);
  assert.equal(passed, undefined);
});

test('headers are bounded, also over HTTP/2', async () => {
  const { program, came } = recorder();
  await using served = await serveGateway({ program });
  const long = `X: ${'y'.repeat(40_000)}\r\n`;
  assert.match(await served.raw(`GET / HTTP/1.1\r\n${auth(served)}${long}\r\n`), /^HTTP\/1\.1 (400|431)/);
  const session = http2.connect(served.url);
  session.on('error', () => {});
  const stream = session.request({
    ':path': '/',
    authorization: `Bearer ${served.token}`,
    x: 'y'.repeat(60_000),
  });
  let status: number | undefined;
  stream.on('response', (headers) => {
    status = headers[':status'];
  });
  stream.on('error', () => {});
  await once(stream.resume(), 'close');
  assert.notEqual(status, 200);
  session.destroy();
  assert.deepEqual(came, []);
});

test('line breaks and other controls in headers of HTTP/2 do not pass', async () => {
  const { program, came } = recorder();
  await using served = await serveGateway({ program });
  // A client that sends what Node's own refuses to: a literal header without indexing (RFC 7541, section 6.2.2).
  const literal = (name: string, value: string) => {
    const text = (each: string) => {
      const bytes = Buffer.from(each, 'latin1');
      const length =
        bytes.length < 127
          ? [bytes.length]
          : [127, ((bytes.length - 127) & 0x7f) | 0x80, (bytes.length - 127) >> 7];
      return Buffer.concat([Buffer.from(length), bytes]);
    };
    return Buffer.concat([Buffer.from([0]), text(name), text(value)]);
  };
  const frame = (type: number, flags: number, stream: number, payload: Buffer) => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head.writeUInt8(type, 3);
    head.writeUInt8(flags, 4);
    head.writeUInt32BE(stream, 5);
    return Buffer.concat([head, payload]);
  };
  const good = [
    ':method',
    'GET',
    ':scheme',
    'http',
    ':path',
    '/',
    ':authority',
    'a.test',
    'authorization',
    `Bearer ${served.token}`,
  ];
  const evil = [
    ['x', 'a\r\nX-Admin: 1'],
    ['x\r\nx-admin: 1\r\ny', 'z'],
    ['x', 'a\0b'],
    ['transfer-encoding', 'chunked'],
    ['connection', 'upgrade'],
    [':path', '/two'],
    ['content-length', '5'],
  ];
  for (const [name = '', value = ''] of evil) {
    const fields = [...good, name, value];
    const block = Buffer.concat(
      fields.flatMap((each, at) => (at % 2 ? [] : [literal(each, fields[at + 1] ?? '')])),
    );
    const socket = net.connect({ host: '127.0.0.1', port: served.port });
    socket.on('error', () => {});
    socket.write(
      Buffer.concat([
        Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
        frame(4, 0, 0, Buffer.alloc(0)),
        frame(1, 5, 1, block),
      ]),
    );
    // RST_STREAM or GOAWAY: whatever the answer, it is the last on this connection.
    for await (const chunk of socket) if (endsStream(chunk)) break;
    socket.destroy();
  }
  // Some of them pass, without the field that no server could mean.
  assert.doesNotMatch(came.join(''), /admin|^x:|two|chunked|upgrade|length/im);
});

/** Whether a frame among these bytes resets a stream, ends one or ends the connection. */
function endsStream(bytes: Buffer): boolean {
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    const [type, flags] = [bytes[at + 3], bytes[at + 4] ?? 0];
    if (type === 3 || type === 7 || ((type === 0 || type === 1) && flags & 1)) return true;
  }
  return false;
}
