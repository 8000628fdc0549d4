/** A resolver of a test's own: the real program on an address of the loopback, and servers for it to ask. */
import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket as NetSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolverBinaryPath } from '../../agent/agent-binary.ts';
import type { Cleanup } from '../../platform/cleanup.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { type Endpoint, type ResolverOptions, ResolverProcess } from '../resolver-process.ts';
import { placeByCommand } from './resolver-place.ts';

const PORT = 5300;
const LENGTH_BYTES = 2;

/** A header alone: all that a resolver reads. */
export const QUESTION = Buffer.from('abcd01000001000000000000', 'hex');

let addresses = 0;
/** Where no other test listens: all of 127.0.0.0/8 is this machine's. */
export const freshEndpoint = (): Endpoint => ({
  address: `127.${54 + (addresses++ % 200)}.${(process.pid >> 8) & 255}.${process.pid & 255}`,
  port: PORT,
});

export interface Upstream extends Endpoint {
  /** What came over UDP. */
  readonly questions: Buffer[];
}

/** A server over UDP that answers with the question and its own name behind it, or not at all. */
export async function udpUpstream(done: Cleanup, name: string | undefined): Promise<Upstream> {
  const socket = await udpClient(done);
  const questions: Buffer[] = [];
  socket.on('message', (question, client) => {
    questions.push(question);
    if (name === undefined) return;
    socket.send(Buffer.concat([question, Buffer.from(name)]), client.port, client.address);
  });
  return { address: '127.0.0.1', port: socket.address().port, questions };
}

export async function udpClient(done: Cleanup, address = '127.0.0.1'): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind(0, address);
  await once(socket, 'listening');
  done.add('socket', () => socket.close());
  return socket;
}

/** A server over TCP that is given each message and how to answer it. */
export async function tcpUpstream(
  done: Cleanup,
  onMessage: (message: Buffer, answer: (answer: Buffer) => void) => void,
): Promise<Endpoint> {
  const sockets = new Set<NetSocket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    readMessages(socket, (message) => onMessage(message, (answer) => socket.write(framed(answer))));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  done.add('server', () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  assert.ok(typeof address === 'object' && address);
  return { address: '127.0.0.1', port: address.port };
}

export const echo = (done: Cleanup): Promise<Endpoint> =>
  tcpUpstream(done, (message, answer) => answer(message));

/** A message as it goes over TCP (RFC 1035, 4.2.2). */
export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

export function readMessages(socket: NetSocket, onMessage: (message: Buffer) => void): void {
  let rest = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= LENGTH_BYTES && rest.length >= LENGTH_BYTES + rest.readUInt16BE(0)) {
      const end = LENGTH_BYTES + rest.readUInt16BE(0);
      onMessage(rest.subarray(LENGTH_BYTES, end));
      rest = rest.subarray(end);
    }
  });
}

export interface Harness {
  readonly at: Endpoint;
  readonly controlSocket: string;
  /** One more server's hold on the same resolver, not opened yet. Closed and removed by the cleanup. */
  hold(
    upstreams: readonly Endpoint[],
    options?: Partial<ResolverOptions>,
    listen?: Endpoint,
  ): ResolverProcess;
}

export async function resolverHarness(done: Cleanup): Promise<Harness> {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-resolver-'));
  done.add('directory', () => rm(directory, { recursive: true, force: true }));
  const controlSocket = join(directory, 'resolver.sock');
  const at = freshEndpoint();
  return {
    at,
    controlSocket,
    hold: (upstreams, options = {}, listen = at) => {
      const place = placeByCommand(controlSocket);
      const base = { program: resolverBinaryPath(), controlSocket, place, user: undefined };
      const resolver = new ResolverProcess(
        { ...base, logger: createLogger('silent'), ...options },
        listen,
        upstreams,
      );
      done.add('resolver', async () => {
        await resolver.close();
        await resolver.remove();
      });
      return resolver;
    },
  };
}
