/** A nameserver for tests, which knows a few names. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';

/**
 * Answers questions at that address: with the one address that a name has, or that there is none.
 * @param others a nameserver that is asked for other names
 */
export async function serveNames(
  at: string,
  names: Readonly<Record<string, string>>,
  others?: string,
): Promise<Socket> {
  const server = createSocket('udp4');
  server.on('message', (question, { address, port }) => {
    const labels: string[] = [];
    let end = 12;
    for (let length = question[end] ?? 0; length > 0; length = question[end] ?? 0) {
      labels.push(question.toString('latin1', end + 1, end + 1 + length));
      end += 1 + length;
    }
    const found = names[labels.join('.')];
    if (!found && others !== undefined) {
      const relay = createSocket(isIPv6(others) ? 'udp6' : 'udp4').unref();
      relay.on('error', () => {}); // who asked asks again
      relay.once('message', (answer) => server.send(answer, port, address, () => relay.close()));
      relay.send(question, 53, others);
      return;
    }
    const answer = Buffer.from(question);
    answer.writeUInt16BE(found ? 0x8180 : 0x8183, 2);
    answer.writeUInt16BE(found ? 1 : 0, 6);
    const record = found
      ? Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...found.split('.').map(Number)])
      : Buffer.alloc(0);
    server.send(Buffer.concat([answer, record]), port, address);
  });
  server.bind(53, at);
  await once(server, 'listening');
  return server;
}
