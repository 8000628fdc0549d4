/**
 * The internet of a test: a machine with many addresses, run in a namespace of its own. It serves TLS on 443 (and HTTP over it to who asks for that), HTTP on 80, plain
 * TCP on 22 and datagrams on 443, each of which says at which address and by which name it was reached, and DNS on 53. On port 8099 it says as JSON which names it was asked for.
 *
 *   node internet.ts INTERNET
 *
 * Prints "ready" once all of it listens.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { makeAuthority, type Pair } from '../../transport/issue-certificate.ts';

export interface Internet {
  /** The address, or several in their order, by the names that exist. */
  readonly names: Readonly<Record<string, string | readonly string[]>>;
  /** Where TLS is spoken on port 443. */
  readonly secure: readonly string[];
  /** Where plain TCP is, on the same port. */
  readonly plain: readonly string[];
  /** Of TLS; one that nobody trusts by default. */
  readonly certificate?: Pair;
}

const { names, secure, plain, certificate } = JSON.parse(process.argv[2] ?? '') as Internet; // the test's own
const asked: string[] = [];
const DAY_MS = 86_400_000;
const validity = { notBefore: new Date(Date.now() - DAY_MS), notAfter: new Date(Date.now() + DAY_MS) };
const { cert, key } = certificate ?? (await makeAuthority('internet.test', validity, undefined));

const onSecure = (socket: TLSSocket) => {
  socket.on('error', () => {});
  if (socket.alpnProtocol) return void http.emit('connection', socket);
  const name = socket.servername || 'no name'; // false without one
  socket.write(`${socket.localAddress} ${name}\n`);
  socket.pipe(socket);
};
const secureServers = secure.map((address) =>
  createTlsServer({ cert, key, ALPNProtocols: ['http/1.1'] }, onSecure)
    .on('tlsClientError', () => {})
    .listen(443, address),
);
const http = createHttpServer((request, response) => {
  let body = '';
  request.on('data', (chunk) => {
    body += chunk;
  });
  request.on('end', () => {
    const { host, authorization } = request.headers;
    if (authorization !== undefined) response.setHeader('x-authorization', authorization);
    response.end(`${request.socket.localAddress} ${host} ${request.url} ${body}|`);
  });
});
const onPlain = (socket: Socket) => socket.on('error', () => {}).end(`${socket.localAddress} plain\n`);
const plainServers = [
  createServer(onPlain).listen(22, '0.0.0.0'),
  ...plain.map((address) => createServer(onPlain).listen(443, address)),
];
const control = createHttpServer((_request, response) => response.end(JSON.stringify(asked)));
const quic = createSocket('udp4').on('message', (_message, from) =>
  quic.send('datagram', from.port, from.address),
);
const dns = createSocket('udp4').on('message', (question, from) =>
  dns.send(answerTo(question), from.port, from.address),
);

function answerTo(question: Buffer): Buffer {
  let at = 12;
  const labels: string[] = [];
  for (let length = question.readUInt8(at); length > 0; length = question.readUInt8(at)) {
    labels.push(question.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const name = labels.join('.');
  asked.push(name);
  const isA = question.readUInt16BE(at + 1) === 1;
  const known = names[name];
  const found = isA ? [known ?? []].flat() : [];
  const header = Buffer.alloc(12);
  question.copy(header, 0, 0, 2);
  header.writeUInt16BE(known === undefined ? 0x8183 : 0x8180, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(found.length, 6);
  const records = found.map((address) =>
    Buffer.from([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ...address.split('.').map(Number)]),
  );
  return Buffer.concat([header, question.subarray(12, at + 5), ...records]);
}

http.listen(80, '0.0.0.0');
control.listen(8099, '0.0.0.0');
quic.bind(443);
dns.bind(53);
/** One message of a connection, with its length before it. */
const longDns = createServer((socket) =>
  socket
    .on('error', () => {})
    .once('data', (question) => {
      const answer = answerTo(question.subarray(2));
      socket.end(Buffer.concat([Buffer.from([0, answer.length]), answer]));
    }),
);

longDns.listen(53, '0.0.0.0');
const servers = [longDns, ...secureServers, ...plainServers, http, control, quic, dns];
await Promise.all(servers.map((server) => once(server, 'listening')));
process.stdout.write('ready\n');
