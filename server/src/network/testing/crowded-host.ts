/**
 * A machine for `connection-bound.test.ts`: started in a network namespace of the test's own, it opens a network with two sandboxes, of which one opens as many
 * connections as it can, and prints as JSON what came of it.
 *
 *   node crowded-host.ts DIRECTORY OUTSIDE_NAMESPACE OUTSIDE_ADDRESS
 */
import { readFile } from 'node:fs/promises';
import { run } from '../../platform/command.ts';
import type { Lease } from '../network.ts';
import { Echo } from './echo.ts';
import { INSTANCE, labNetwork, MAX_CONNECTIONS } from './lab-network.ts';

const TABLE = `skerry_${INSTANCE}`;
/** Well beyond what one may have. */
const TRIES = 4 * MAX_CONNECTIONS;

const [directory = '', outsideNamespace = '', outside = ''] = process.argv.slice(2);
const network = labNetwork(directory, outside);
await network.open([]);
const greedy = await network.acquire({ kind: 'open' });
const other = await network.acquire({ kind: 'open' });
const echo = new Echo(['ip', 'netns', 'exec', outsideNamespace]);
await echo.ready();

/** Functions of a program in a sandbox: a flow of UDP that gets its answer, a connection of TCP. Each gives how it ended. */
const CLIENT = `
const { createSocket } = require('node:dgram');
const { connect } = require('node:net');
const flow = () => new Promise((resolve) => {
  const socket = createSocket('udp4');
  const finish = (what) => { socket.removeAllListeners(); socket.on('error', () => {}); socket.close(); resolve(what); };
  socket.on('message', () => finish('answered'));
  socket.on('error', (error) => finish(error.code));
  socket.connect(7, '${outside}', () => socket.send('x'));
});
const connection = () => new Promise((resolve) => {
  const socket = connect(7, '${outside}');
  const timer = setTimeout(() => { socket.destroy(); resolve('late'); }, 900); // the first packet is sent again after a second
  const finish = (what) => { clearTimeout(timer); socket.destroy(); resolve(what); };
  socket.on('connect', () => finish('connected'));
  socket.on('error', (error) => finish(error.code));
});
// A packet that is lost on a busy machine is none that is always dropped.
const stubborn = (make) => async () => {
  for (let tries = 0; ; tries++) {
    const ended = await make();
    if (ended !== 'late' || tries === 3) return ended;
  }
};
const asLongAs = async (good, make) => {
  for (let count = 0; ; count++) {
    const ended = count < ${TRIES} ? await make() : 'tired';
    if (ended !== good) return { count, ended };
  }
};`;

async function play({ namespacePath }: Lease, expression: string): Promise<unknown> {
  const program = `${CLIENT} (async () => console.log(JSON.stringify(await ${expression})))();`;
  const argv = ['nsenter', `--net=${namespacePath}`, process.execPath, '--eval', program] as const;
  const { stdout } = await run(argv, { timeoutMs: 240_000 });
  return JSON.parse(stdout);
}

/** Those that this machine's kernel knows; each network namespace counts its own. */
const tracked = async () => Number(await readFile('/proc/sys/net/netfilter/nf_conntrack_count', 'utf8'));
const fill = () => play(greedy, "asLongAs('answered', flow)");

const results: Record<string, unknown> = {
  flows: await fill(),
  tracked: await tracked(),
  connection: await play(greedy, 'connection()'),
  others: [await play(other, 'flow()'), await play(other, 'connection()')],
};
await run(['nft', 'delete', 'table', 'inet', TABLE]);
await run(['nft', 'flush', 'table', 'ip', TABLE]);
await network.mendRules();
results.mended = await fill();
results.closedOnes = await play(other, "asLongAs('connected', connection)");
await run(['nft', 'insert', 'rule', 'ip', TABLE, 'bound', 'accept']);
results.unbounded = [
  await play(greedy, "asLongAs('answered', stubborn(flow))"),
  await play(other, "asLongAs('connected', stubborn(connection))"),
];
await network.mendRules();
await network.release(greedy.slot);
await network.release(other.slot);
results.left = await tracked();
process.stdout.write(`${JSON.stringify(results)}\n`);
echo.stop();
await network.close();
await network.remove();
