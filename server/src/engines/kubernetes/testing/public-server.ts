/** A TCP server at a public address, as Pods of the test's cluster see it: on the bridge that their node is behind. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { run } from '../../../platform/command.ts';

export interface PublicServer extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
}

/** RFC 5737: stands for any of the internet. */
const ADDRESS = '198.51.100.250';

/** @param machine the address of this machine on that bridge */
export async function servePublicly(machine: string): Promise<PublicServer> {
  const { stdout } = await run(['ip', '-o', '-4', 'address', 'show', 'to', machine]);
  const [, device] = stdout.trim().split(/\s+/);
  if (device === undefined) throw new Error(`no device of this machine has ${machine}`);
  await run(['ip', 'address', 'add', `${ADDRESS}/32`, 'dev', device]);
  const server = createServer((socket) => {
    socket.on('error', () => {}); // who only looks whether it is there breaks the connection
    socket.end('here\n');
  }).listen(0, ADDRESS);
  await once(server, 'listening');
  const listening = server.address();
  return {
    address: ADDRESS,
    port: typeof listening === 'object' ? (listening?.port ?? 0) : 0,
    [Symbol.asyncDispose]: async () => {
      server.close();
      await run(['ip', 'address', 'del', `${ADDRESS}/32`, 'dev', device]);
    },
  };
}
