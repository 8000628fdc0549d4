/**
 * A host "on the internet" for tests, run inside a namespace of its own: echoes TCP on port 7, says where it was reached from on port 79 and by which name on
 * port 80 (HTTP), and answers every DNS question for an A record with its own address, the first argument, on port 53; for names that begin with `inner.`
 * with its private one, the second argument, and for those with `turning.` with the one and the other in turn. Prints "ready" once all of it listens.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';

const [address = '', inner = ''] = process.argv.slice(2);
const record = (value: string) =>
  Buffer.from([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ...value.split('.').map(Number)]);
let turns = 0;

/** @param name as it is in a question */
function answerTo(name: string): Buffer {
  const turned = name.startsWith('\u0007turning') && turns++ % 2 === 1;
  return record(turned || name.startsWith('\u0005inner') ? inner : address);
}

const dns = createSocket('udp4');
dns.on('message', (question, client) => {
  const end = question.indexOf(0, 12) + 5; // name, type and class of the only question
  const isA = question.readUInt16BE(end - 4) === 1;
  const header = Buffer.from([
    question[0] ?? 0,
    question[1] ?? 0,
    0x81,
    0x80,
    0,
    1,
    0,
    isA ? 1 : 0,
    0,
    0,
    0,
    0,
  ]);
  dns.send(
    Buffer.concat([
      header,
      question.subarray(12, end),
      isA ? answerTo(question.toString('latin1', 12, end)) : Buffer.alloc(0),
    ]),
    client.port,
    client.address,
  );
});
dns.bind(53);
const echo = createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(7);
const finger = createServer((socket) => socket.on('error', () => {}).end(`${socket.remoteAddress}\n`)).listen(
  79,
);
const http = createHttpServer((request, response) => response.end(`${request.headers.host}\n`)).listen(80);
await Promise.all([dns, echo, finger, http].map((server) => once(server, 'listening')));
process.stdout.write('ready\n');
