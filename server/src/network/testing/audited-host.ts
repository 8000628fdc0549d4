/**
 * A machine for `traffic-audit.test.ts`: started in a network namespace of the test's own, it opens a network with audited sandboxes there, has them send to what they
 * may reach and to what they may not, and prints as JSON what was told of it.
 *
 *   node audited-host.ts DIRECTORY INTERNET_NAMESPACE PLAN
 */
import { run } from '../../platform/command.ts';
import { delay } from '../../platform/wait.ts';
import type { NetworkEvent } from '../network-events.ts';
import type { NetworkPolicy } from '../policy.ts';
import type { Internet } from './internet.ts';
import { INSTANCE, labNetwork } from './lab-network.ts';
import { attemptIn, conclude, inSandbox, inShort, startOutside } from './lab-programs.ts';
import type { Attempt } from './traveller.ts';

/** What the test wants. */
export interface Plan {
  readonly nameserver: string;
  readonly internet: Internet;
  readonly attempts: Readonly<Record<string, Attempt>>;
  /** The same attempts are made under each. */
  readonly policies: Readonly<Record<string, NetworkPolicy>>;
  /** Where so many datagrams are sent, each to another port. */
  readonly flood: { readonly address: string; readonly ports: number };
}

const [directory = '', internetNamespace = '', text = ''] = process.argv.slice(2);
const plan = JSON.parse(text) as Plan; // the test's own
/** Of a server that tells nothing: it looks about each second. */
const MAX_LOOKS = 600;
const FLOOD = `
const socket = require('node:dgram').createSocket('udp4').on('error', () => {});
const [address, ports] = process.argv.slice(1);
let left = Number(ports);
for (let port = 1; port <= Number(ports); port++) socket.send('x', port, address, () => --left || socket.close());
`;

const makeNetwork = () => labNetwork(directory, plan.nameserver);
const told = (events: readonly NetworkEvent[]): readonly string[] => [...inShort(events)].sort();
const tables = async () =>
  (await run(['nft', 'list', 'tables'])).stdout.split('\n').filter((line) => line.endsWith('_audit')).length;

await startOutside(internetNamespace, 'internet.ts', plan.internet);
const network = makeNetwork();
await network.open([]);
const results: Record<string, unknown> = {};
const silent = await network.acquire({ kind: 'open' });
await attemptIn(silent, plan.attempts);
results.notAudited = [
  await network.events(silent.slot),
  await network.lastEvents(silent.slot),
  await tables(),
];
const leases = [silent];
for (const [name, policy] of Object.entries(plan.policies)) {
  const lease = await network.acquire({ ...policy, audited: true });
  leases.push(lease);
  await attemptIn(lease, plan.attempts);
  results[name] = told(await network.lastEvents(lease.slot));
}

// What is there of a place is told once: by the server that sees it, and to its end by the next one.
const [name = '', only] = Object.entries(plan.attempts)[0] ?? [];
const lease = await network.acquire({ kind: 'open', audited: true });
leases.push(lease);
if (only) await attemptIn(lease, { [name]: only });
const first: NetworkEvent[] = [];
for (let looks = 0; first.length === 0 && looks < MAX_LOOKS; looks++) {
  first.push(...(await network.events(lease.slot)));
  await delay(50);
}
results.first = told(first);
await network.close();
const next = makeNetwork();
await next.open(
  leases.map(({ slot, addressing }) => ({
    ...{ slot, addressing },
    policy: { kind: 'open', ...(slot === lease.slot && { audited: true }) } as const,
  })),
);
results.toTheEnd = told(await next.lastEvents(lease.slot));
results.nothingMore = await next.lastEvents(lease.slot);

// What there is no room for is counted, and costs as much as there is room for.
await run(inSandbox(lease, undefined, '-e', FLOOD, plan.flood.address, String(plan.flood.ports)));
results.flood = told(await next.lastEvents(lease.slot));

// Rules that somebody took away are made anew.
await run(['nft', 'flush', 'ruleset']);
await next.mendRules();
if (only) await attemptIn(lease, { [name]: only });
results.afterAFlush = told(await next.lastEvents(lease.slot));
for (const { slot } of leases) await next.release(slot);
results.after = await tables();
await next.close();
await next.remove();
const { stdout: rules } = await run(['nft', 'list', 'ruleset']);
results.left = rules.includes(INSTANCE);
conclude(results);
