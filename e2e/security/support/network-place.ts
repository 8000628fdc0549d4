/** What attacks on the network aim at: a machine beyond it, programs of this machine, and another sandbox. All of it is the test's own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { createOutside } from '../../../server/src/engines/testing/outside.ts';
import { Cleanup } from '../../../server/src/platform/cleanup.ts';
import { run } from '../../../server/src/platform/command.ts';
import { pythonWith } from '../../support/clients.ts';
import { projectRoot } from '../../support/server.ts';

export interface NetworkPlace extends AsyncDisposable {
  /** A name server that answers every question, for the server under attack. */
  readonly nameserver: string;
  /** What attacks are told: addresses and ports. */
  readonly given: Readonly<Record<string, string | number>>;
}

/** Whoever serves metadata to the machine itself must not be reached by a test, also where nothing holds the attack: this stands for it. */
const LINK_LOCAL = '169.254.201';
/** Of RFC 5737: nobody's. */
const FOREIGN = '203.0.113.77';

export async function makeNetworkPlace(): Promise<NetworkPlace> {
  const done = new Cleanup();
  try {
    const name = `a${process.pid}`;
    const outside = await createOutside(name);
    done.add('outside', () => outside[Symbol.asyncDispose]());
    const namespace = `skerry-out-${name}`;
    const last = Number(outside.publicAddress.split('.').at(-1));
    const linkLocal = `${LINK_LOCAL}.${last}`;
    await run(['ip', 'addr', 'add', `${LINK_LOCAL}.${last - 1}/30`, 'dev', `o-${name}`]);
    await run(['ip', '-n', namespace, 'addr', 'add', `${linkLocal}/30`, 'dev', 'eth0']);
    // A datagram with a foreign source would not be let in there otherwise.
    for (const device of ['all', 'eth0']) {
      const setting = `net.ipv4.conf.${device}.rp_filter=0`;
      await run(['ip', 'netns', 'exec', namespace, 'sysctl', '-qw', setting]);
    }
    const program = join(projectRoot, 'e2e/security/support/witness.py');
    const witness = spawn('ip', ['netns', 'exec', namespace, pythonWith(), program], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    done.add('witness', async () => {
      const exit = once(witness, 'exit');
      witness.stdin.end();
      await exit;
    });
    await once(witness.stdout, 'data');
    const hostPort = await listen(done);
    const foreign = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .find((entry) => entry.family === 'IPv4' && !entry.internal);
    return {
      nameserver: outside.publicAddress,
      given: {
        outside: outside.publicAddress,
        privateAddress: outside.privateAddress,
        linkLocal,
        foreign: FOREIGN,
        hostAddress: foreign?.address ?? outside.publicAddress,
        hostPort,
      },
      [Symbol.asyncDispose]: () => done.run(),
    };
  } catch (error) {
    await done.run();
    throw error;
  }
}

/** A program of the machine, on all its addresses. @returns its port */
async function listen(done: Cleanup): Promise<number> {
  const reached = new Set<Socket>();
  const server = createServer((socket) => reached.add(socket.on('error', () => {}).end('reached\n')));
  await once(server.listen(0, '0.0.0.0'), 'listening');
  done.add('listener', () => {
    for (const socket of reached) socket.destroy();
    server.close();
  });
  const address = server.address();
  if (typeof address !== 'object' || !address) throw new Error('no port');
  return address.port;
}
