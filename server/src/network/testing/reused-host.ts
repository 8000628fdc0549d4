/**
 * A machine for an attack of `e2e/security/`: started in a network namespace of the test's own, it gives an address of the sandbox network to one sandbox after
 * the other, and prints as JSON what the second one got of what was sent to the first.
 *
 *   node reused-host.ts DIRECTORY OUTSIDE_NAMESPACE ADDRESSES CONNECTIONS
 *
 * ADDRESSES is an object of `host` and `outside`; CONNECTIONS the program that has the kernel forget connections.
 */
import { parseCidr } from '../cidr.ts';
import type { Lease } from '../network.ts';
import { AddressPlan } from '../subnet.ts';
import { Peer } from './datagrams.ts';
import { labNetwork, SUBNET } from './lab-network.ts';

const [directory = '', outsideNamespace = '', addresses = '', connections = ''] = process.argv.slice(2);
const { host = '', outside = '' } = JSON.parse(addresses) as Record<string, string>; // the test's own
const plan = new AddressPlan(parseCidr(SUBNET));
const inSandbox = ({ namespacePath }: Lease) => new Peer(['nsenter', `--net=${namespacePath}`]);
const other = new Peer(['ip', 'netns', 'exec', outsideNamespace]);
await other.until('ready');

/** As after a restart of the server, whose slots begin with the first again. */
async function withSandbox(use: (lease: Lease, peer: Peer) => Promise<void>): Promise<void> {
  const network = labNetwork(directory, outside, { connections });
  await network.open([]);
  const lease = await network.acquire({ kind: 'open' });
  const peer = inSandbox(lease);
  await peer.until('ready');
  await use(lease, peer);
  peer.stop();
  await network.release(lease.slot);
  await network.close();
  await network.remove();
}

let slot: number | undefined;
await withSandbox(async (lease, former) => {
  slot = lease.slot;
  await former.send([{ to: outside, text: 'question' }]);
  await other.until('question');
  await other.send([{ to: host, text: 'answer' }]); // by the address that the machine gave it
  await former.until('answer');
});
await withSandbox(async (lease, next) => {
  if (lease.slot !== slot) throw new Error(`slot ${lease.slot} is not ${slot}`);
  await other.send([{ to: host, text: 'more of the answer' }]);
  const machine = new Peer([]);
  await machine.until('ready');
  await machine.send([{ to: plan.slotAddress(lease.slot), text: 'over' }]); // what was sent before is there before
  await next.until('over');
  machine.stop();
  process.stdout.write(JSON.stringify({ received: next.count('more of the answer') }));
});
other.stop();
