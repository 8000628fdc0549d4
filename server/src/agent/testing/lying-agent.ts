/** Agents that say whatever a test lets them say, and nothing else. */
import { type Duplex, duplexPair } from 'node:stream';
import { createLogger } from '../../telemetry/logger.ts';
import { AgentClient } from '../agent-client.ts';

/** A frame of `agent/PROTOCOL.md`, with a length that need not be true. */
export function frame(
  type: number,
  payload: Buffer | string = '',
  length = Buffer.byteLength(payload),
): Buffer {
  const header = Buffer.alloc(5);
  header.writeUInt8(type);
  header.writeUInt32LE(length, 1);
  return Buffer.concat([header, Buffer.from(payload)]);
}

/** HELLO of an agent that can connect to ports, and its word that it has. */
export const hello = frame(0x01, '{"version":1,"maxVersion":1,"features":["dial"],"pid":1}');
export const connected = frame(0x0a);

/** An agent that says exactly this on every connection; what it was told, and both ends of each of its connections. */
export function lyingAgent(...says: Buffer[]) {
  const told: Buffer[] = [];
  const ours: Duplex[] = [];
  const theirs: Duplex[] = [];
  const client = new AgentClient(async (): Promise<Duplex> => {
    const [our, their] = duplexPair();
    ours.push(our);
    theirs.push(their);
    their.on('error', () => {});
    their.on('data', (chunk: Buffer) => told.push(chunk));
    their.write(Buffer.concat(says));
    return our;
  }, createLogger('silent'));
  return { client, told, ours, theirs };
}
