/** Attempts to keep the server busy, or full, with what comes over its port. The weak server is Node's own with the setting in question as it is without ours. */
import http from 'node:http';
import http2 from 'node:http2';
import net, { type AddressInfo, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { Code } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { ModalClient } from '../../../server/src/api/modal/gen/modal/service_pb.ts';
import { type ServedApi, serveApi } from '../../../server/src/api/modal/testing/served-api.ts';
import { onControlPlane, type ServerAttack } from '../support/server-attack.ts';

const takesLong = (made: ServerAttack): ServerAttack => ({ ...made, long: true });

/** As ours, in a test that cannot wait for a minute. */
const PATIENCE_MS = 300;

/** Serves the control plane, or a server of a test's own, for the time of `use`. */
async function at<T>(
  checked: boolean,
  weak: () => net.Server,
  use: (port: number, served: ServedApi | undefined) => Promise<T>,
): Promise<T> {
  if (checked) {
    await using served = await serveApi({ headerTimeoutMs: PATIENCE_MS, firstBytesTimeoutMs: PATIENCE_MS });
    return await use(served.port, served);
  }
  const server = weak();
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await use((server.address() as AddressInfo).port, undefined); // it listens on a port
  } finally {
    server.close();
    for (const socket of sockets) socket.destroy();
  }
}

/** Sends text in pieces, each a while after the other. @throws when the server closes meanwhile */
async function dribble(port: number, pieces: readonly string[], everyMs: number): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  const answer = new Promise<string>((resolve, reject) => {
    socket.once('data', (data) => resolve(data.toString('latin1').slice(0, 12)));
    socket.once('close', () => reject(new Error('the connection was closed')));
    socket.once('error', reject);
  });
  answer.catch(() => {});
  for (const piece of pieces) {
    if (socket.destroyed) break;
    socket.write(piece);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
  try {
    return await answer;
  } finally {
    socket.destroy();
  }
}

const patient = (): net.Server =>
  http.createServer({ headersTimeout: 0, requestTimeout: 0 }, (_request, response) => response.end('late'));

/** HTTP/2 in bytes (RFC 9113): the preface, a request that is taken back at once, and a PING. */
const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), h2frame(4, 0, 0)]);
/** POST, http, /, and an authority of one letter, by the static table of HPACK (RFC 7541, appendix A). */
const HEADERS = Buffer.from([0x83, 0x86, 0x84, 0x41, 0x01, 0x78]);
const PING = h2frame(6, 0, 0, Buffer.from('attacked'));
const RESETS = 10_000;

function h2frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function rapidResets(): Buffer {
  const frames: Buffer[] = [PREFACE];
  for (let index = 0; index < RESETS; index++) {
    const stream = 2 * index + 1;
    frames.push(h2frame(1, 0x4, stream, HEADERS), h2frame(3, 0, stream, Buffer.from([0, 0, 0, 8])));
  }
  return Buffer.concat([...frames, PING]);
}

/** Sends all that and waits for the answer to the PING, which comes behind everything else. */
function reset(port: number): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  return new Promise<string>((resolve, reject) => {
    let received = '';
    socket.on('data', (data) => {
      received += data.toString('latin1');
      if (received.includes('attacked')) resolve(`all ${RESETS} resets were taken`);
    });
    socket.once('close', () => reject(new Error('the connection was closed')));
    socket.on('error', () => {}); // 'close' follows
    socket.write(rapidResets());
  }).finally(() => socket.destroy());
}

/** A call with these bytes as its body. @throws with the status unless that is 0 */
async function call(
  port: number,
  served: ServedApi | undefined,
  headers: object,
  body: Buffer,
): Promise<string> {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  try {
    const stream = session.request({
      ':method': 'POST',
      ':path': `/${ModalClient.typeName}/EnvironmentList`,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...served?.credentials,
      ...headers,
    });
    const status = await new Promise<string>((resolve, reject) => {
      const read = (fields: http2.IncomingHttpHeaders) => {
        const value = fields['grpc-status'];
        if (value !== undefined) resolve(String(value));
      };
      stream.on('response', read).on('trailers', read).on('error', reject);
      stream.once('close', () => reject(new Error('the call was ended')));
      stream.resume();
      stream.end(body);
    });
    if (status !== '0') throw new Error(`${Code[Number(status)]}`);
    return 'it was taken';
  } finally {
    session.destroy();
  }
}

const prefixed = (flags: number, message: Buffer): Buffer => {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
};

/** A field that nobody knows, of this many bytes. */
function unknownField(bytes: number): Buffer {
  const head = [0xfa, 0x7f]; // number 2047, with a length
  for (let rest = bytes; ; rest >>>= 7) {
    head.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest);
    if (rest <= 0x7f) break;
  }
  return Buffer.concat([Buffer.from(head), Buffer.alloc(bytes)]);
}

/** A server of Connect's own, which takes what comes. */
const generous = (): net.Server =>
  http2.createServer(
    connectNodeAdapter({
      readMaxBytes: 2 ** 32 - 1,
      routes: (router) => router.service(ModalClient, { environmentList: () => ({}) }),
    }),
  );

export const messageAttacks: readonly ServerAttack[] = [
  onControlPlane(
    'hold a connection with half a header',
    /^the connection was closed/,
    'a header must come in time',
    (checked) =>
      at(checked, patient, (port) =>
        dribble(
          port,
          ['GET / HTTP/1.1\r\nHost: x\r\n', ...Array(20).fill('x: y\r\n'), '\r\n'],
          PATIENCE_MS / 5,
        ),
      ),
  ),
  onControlPlane(
    'hold a connection in silence',
    /^the connection was closed/,
    'the first bytes must come in time',
    (checked) =>
      at(checked, patient, (port) =>
        dribble(port, [...Array(10).fill(''), 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'], PATIENCE_MS / 3),
      ),
  ),
  onControlPlane(
    'take requests back as fast as they are made',
    /^the connection was closed/,
    'so many resets, and no more, may come in a while',
    (checked) =>
      at(
        checked,
        () => http2.createServer({ streamResetBurst: 10 * RESETS, streamResetRate: 10 * RESETS }),
        reset,
      ),
  ),
  takesLong(
    onControlPlane(
      'send a message that is larger than any',
      /ENHANCE_YOUR_CALM/,
      'messages are bounded',
      (checked) =>
        at(checked, generous, (port, served) => call(port, served, {}, prefixed(0, unknownField(105 << 20)))),
    ),
  ),
  onControlPlane(
    'send a message that grows when it is unpacked',
    /^Unimplemented/,
    'no compression is taken',
    (checked) =>
      at(checked, generous, (port, served) =>
        call(port, served, { 'grpc-encoding': 'gzip' }, prefixed(1, gzipSync(unknownField(64 << 20)))),
      ),
  ),
];
