/** A DNS server of a test's own, on this machine's loopback: answers every question for an A record, over UDP and TCP. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

export interface NameServer extends AsyncDisposable {
  readonly address: string;
  /** Questions that came so far, over either. */
  readonly asked: number;
}

const PORT = 53;
/** RFC 5737: nobody's. */
const ANSWER = [192, 0, 2, 1];
const LENGTH_BYTES = 2;

/** The same question with one A record after it (RFC 1035, 4.1): for other types with none, which says that there are none. */
function answerTo(question: Buffer): Buffer {
  const end = question.indexOf(0, 12) + 5; // name, type and class of the only question
  const isA = question.readUInt16BE(end - 4) === 1;
  const header = Buffer.concat([
    question.subarray(0, 2),
    Buffer.from([0x81, 0x80, 0, 1, 0, isA ? 1 : 0, 0, 0, 0, 0]),
  ]);
  const record = Buffer.from([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, ANSWER.length, ...ANSWER]);
  return Buffer.concat([header, question.subarray(12, end), isA ? record : Buffer.alloc(0)]);
}

/** Calls `onQuestion` with each message of a TCP connection (RFC 1035, 4.2.2). */
function readFrames(socket: Socket, onQuestion: (question: Buffer) => void): void {
  let rest = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= LENGTH_BYTES && rest.length >= LENGTH_BYTES + rest.readUInt16BE(0)) {
      const end = LENGTH_BYTES + rest.readUInt16BE(0);
      onQuestion(rest.subarray(LENGTH_BYTES, end));
      rest = rest.subarray(end);
    }
  });
}

/** Servers of tests that run at the same time have addresses of their own: all of 127.0.0.0/8 is this machine's. */
export async function startNameServer(): Promise<NameServer> {
  const address = `127.53.${process.pid % 250}.${1 + ((process.pid >> 8) % 250)}`;
  let asked = 0;
  const udp = createSocket('udp4');
  udp.on('message', (question, client) => {
    asked++;
    udp.send(answerTo(question), client.port, client.address);
  });
  udp.bind(PORT, address);
  const connections = new Set<Socket>();
  const tcp = createServer((socket) => {
    connections.add(socket);
    socket.on('error', () => {}).once('close', () => connections.delete(socket));
    readFrames(socket, (question) => {
      asked++;
      const answer = answerTo(question);
      const length = Buffer.alloc(LENGTH_BYTES);
      length.writeUInt16BE(answer.length);
      socket.write(Buffer.concat([length, answer]));
    });
  });
  tcp.listen(PORT, address);
  await Promise.all([once(udp, 'listening'), once(tcp, 'listening')]);
  return {
    address,
    get asked() {
      return asked;
    },
    [Symbol.asyncDispose]: async () => {
      for (const connection of connections) connection.destroy();
      await Promise.all([
        new Promise<void>((done) => udp.close(done)),
        new Promise((done) => tcp.close(done)),
      ]);
    },
  };
}
