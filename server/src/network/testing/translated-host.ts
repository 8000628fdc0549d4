/**
 * A machine for `translation.test.ts`: started in a network namespace of the test's own, it opens a network beside a sandbox of an earlier version, and
 * prints as JSON what came of what each kind of sandbox did, with what it sees of its network.
 *
 *   node translated-host.ts DIRECTORY FAR_NAMESPACE FAR_ADDRESS CLOSED_ADDRESS
 */
import { run } from '../../platform/command.ts';
import { parseCidr } from '../cidr.ts';
import { GATEWAY_ADDRESS } from '../latch.ts';
import { createNamespaces, SlotNames } from '../namespaces.ts';
import type { Lease } from '../network.ts';
import { AddressPlan } from '../subnet.ts';
import { Echo } from './echo.ts';
import { INSTANCE, labNetwork, namespaceDir, SUBNET } from './lab-network.ts';

const [directory = '', farNamespace = '', far = '', closed = ''] = process.argv.slice(2);
const plan = new AddressPlan(parseCidr(SUBNET));
const earlier = 7;
await createNamespaces([earlier], new SlotNames(INSTANCE, namespaceDir(directory)), plan, {
  mtu: 1500,
  addressing: 'own',
  gatewayAddress: GATEWAY_ADDRESS,
});
const network = labNetwork(directory, far);
await network.open([{ slot: earlier, policy: { kind: 'open' }, addressing: 'own' }]);
const enter = ({ namespacePath }: Lease) => ['nsenter', `--net=${namespacePath}`] as const;
const echo = new Echo(['ip', 'netns', 'exec', farNamespace]);
await echo.ready();

const client = (resolver: string) => `
const { createSocket } = require('node:dgram');
const { connect } = require('node:net');
const datagram = (address, port, bytes) => new Promise((resolve) => {
  const socket = createSocket('udp4');
  const finish = (what) => { clearTimeout(timer); socket.removeAllListeners(); socket.on('error', () => {}); socket.close(); resolve(what); };
  const timer = setTimeout(finish, 5000, 'nothing');
  socket.on('message', (message) => finish(message.length));
  socket.on('error', (error) => finish(error.code));
  socket.connect(port, address, () => socket.send(Buffer.alloc(bytes, 1)));
});
const stream = (address, port, bytes) => new Promise((resolve) => {
  let got = 0;
  const said = Buffer.alloc(bytes, 1);
  if (port === 53) said.writeUInt16BE(bytes - 2); // one message, with its length before it
  const socket = connect({ host: address, port }, () => socket.write(said));
  const timer = setTimeout(() => { socket.destroy(); resolve('nothing after ' + got); }, 10000);
  socket.on('data', (chunk) => { got += chunk.length; if (got === bytes) socket.end(); });
  socket.on('error', (error) => { clearTimeout(timer); resolve(error.code); });
  socket.on('end', () => { clearTimeout(timer); resolve(got); });
});
(async () => console.log(JSON.stringify({
  datagram: await datagram('${far}', 7, 100),
  fragments: await datagram('${far}', 7, 4000),
  stream: await stream('${far}', 7, 2000000),
  unreachable: await datagram('${far}', 9, 100),
  refused: await stream('${closed}', 7, 100),
  prohibited: await datagram('${closed}', 7, 100),
  question: await datagram('${resolver}', 53, 100),
  questionOverTcp: await stream('${resolver}', 53, 100),
  toMachine: await stream('198.51.100.1', 7, 100),
})))();
`;

/** What the machine itself gets back from a sandbox's server. */
async function inbound(lease: Lease): Promise<boolean> {
  const server = new Echo(enter(lease));
  await server.ready();
  const address = plan.slotAddress(lease.slot);
  const program = `
const socket = require('node:net').connect(7, '${address}', () => socket.end('x'));
socket.on('data', (data) => console.log(String(data)));
socket.on('error', () => {});
socket.setTimeout(5000, () => socket.destroy());`;
  const { stdout } = await run([process.execPath, '--eval', program]);
  server.stop();
  return stdout.trim() === 'x';
}

const results: Record<string, unknown> = {};
const sandboxes = {
  first: await network.acquire({ kind: 'open' }),
  second: await network.acquire({ kind: 'open' }),
  earlier: network.lease(earlier),
};
for (const [name, lease] of Object.entries(sandboxes)) {
  const program = [process.execPath, '--eval', client(lease.inside.resolver)];
  const { stdout } = await run([...enter(lease), ...program]);
  results[name] = { ...JSON.parse(stdout), inbound: await inbound(lease), inside: lease.inside };
}
process.stdout.write(`${JSON.stringify(results)}\n`);
echo.stop();
for (const { slot } of Object.values(sandboxes)) await network.release(slot);
await network.close();
await network.remove();
