/**
 * Both ends of what `network.ts` times, one file that any Node.js runs by itself: the same program for all contenders, in sandboxes, containers and beside them.
 *
 *   network-peer.ts serve PORT [KEY CERTIFICATE]        HTTP, or HTTPS: `/` is short, `/large` is LARGE_BYTES, and websockets echo
 *   network-peer.ts requests COUNT kept|new URL [ADDRESS]    milliseconds of so many requests, one after the other
 *   network-peer.ts download URL [ADDRESS]                   milliseconds of `/large`
 *   network-peer.ts websocket COUNT URL                      milliseconds of so many messages there and back
 *
 * ADDRESS is connected to in place of what the name in the URL has. Authorities of certificates are those of NODE_EXTRA_CA_CERTS.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import type { LookupFunction, Socket } from 'node:net';
import type { Duplex } from 'node:stream';

const LARGE_BYTES = 256 << 20;
const PIECE = Buffer.alloc(256 << 10, 'x');
/** https://www.rfc-editor.org/rfc/rfc6455#section-1.3 */
const WEBSOCKET_KEY = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

const [command, ...words] = process.argv.slice(2);
switch (command) {
  case 'serve':
    await serve(Number(words[0]), words[1], words[2]);
    break;
  case 'requests':
    await print(() => requests(Number(words[0]), words[1] === 'kept', words[2] ?? '', words[3]));
    break;
  case 'download':
    await print(() => download(words[0] ?? '', words[1]));
    break;
  case 'websocket':
    await print(() => messages(Number(words[0]), words[1] ?? ''));
    break;
  default:
    throw new Error(`not a command: ${command}`);
}

async function print(work: () => Promise<void>): Promise<void> {
  const began = performance.now();
  await work();
  process.stdout.write(`${performance.now() - began}\n`);
}

async function serve(port: number, key: string | undefined, certificate: string | undefined): Promise<void> {
  const listener: http.RequestListener = (request, response) => {
    request.resume();
    if (!request.url?.startsWith('/large')) return void response.end('short\n');
    response.setHeader('content-length', LARGE_BYTES);
    let left = LARGE_BYTES;
    const more = () => {
      while (left > 0) {
        left -= PIECE.length;
        if (!response.write(PIECE)) return void response.once('drain', more);
      }
      response.end();
    };
    more();
  };
  const server =
    key === undefined || certificate === undefined
      ? http.createServer(listener)
      : https.createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, listener);
  server.keepAliveTimeout = 600_000;
  server.on('upgrade', (request: http.IncomingMessage, socket: Duplex) => echo(request, socket));
  await once(server.listen(port), 'listening');
  process.stdout.write('ready\n');
}

/** Messages of less than 126 bytes, each in a frame of its own. */
function echo(request: http.IncomingMessage, socket: Duplex): void {
  const key = `${request.headers['sec-websocket-key']}${WEBSOCKET_KEY}`;
  const accept = createHash('sha1').update(key).digest('base64');
  socket.on('error', () => socket.destroy());
  (socket as Socket).setNoDelay?.(true);
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  let kept = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    kept = Buffer.concat([kept, chunk]);
    for (;;) {
      const length = (kept[1] ?? 0) & 0x7f;
      if (kept.length < 6 + length) return;
      const [first = 0] = kept;
      const mask = kept.subarray(2, 6);
      const data = Buffer.from(
        kept.subarray(6, 6 + length).map((byte, index) => byte ^ (mask[index % 4] ?? 0)),
      );
      kept = kept.subarray(6 + length);
      if ((first & 0x0f) === 8) return void socket.end(Buffer.from([0x88, 0]));
      socket.write(Buffer.concat([Buffer.from([first, length]), data]));
    }
  });
}

function get(
  url: string,
  address: string | undefined,
  agent: http.Agent | false,
): Promise<http.IncomingMessage> {
  const lookup: LookupFunction = (_, options, callback) => {
    const found = { address: address ?? '', family: 4 };
    if (options.all) callback(null, [found]);
    else callback(null, found.address, found.family);
  };
  const send = url.startsWith('https:') ? https.get : http.get;
  return new Promise((resolve, reject) => {
    send(url, { agent, ...(address !== undefined && { lookup }) }, resolve).on('error', reject);
  });
}

async function requests(
  count: number,
  kept: boolean,
  url: string,
  address: string | undefined,
): Promise<void> {
  const Agent = url.startsWith('https:') ? https.Agent : http.Agent;
  const agent = kept ? new Agent({ keepAlive: true, maxSockets: 1 }) : false;
  for (let number = 0; number < count; number++) {
    const answer = await get(url, address, agent);
    if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`);
    for await (const _ of answer);
  }
  if (agent) agent.destroy();
}

async function download(url: string, address: string | undefined): Promise<void> {
  const answer = await get(url, address, false);
  let bytes = 0;
  for await (const chunk of answer) bytes += (chunk as Buffer).length;
  if (bytes !== LARGE_BYTES) throw new Error(`${bytes} bytes, status ${answer.statusCode}`);
}

async function messages(count: number, url: string): Promise<void> {
  const socket = new WebSocket(url);
  await once(socket, 'open');
  for (let number = 0; number < count; number++) {
    socket.send('there and back');
    await once(socket, 'message');
  }
  socket.close();
  await once(socket, 'close');
}
