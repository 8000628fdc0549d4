/**
 * A machine for `egress.test.ts`: started in a network namespace of the test's own, it opens a network with sandboxes there that may reach domains, and prints
 * as JSON what came of what they tried.
 *
 *   node named-host.ts DIRECTORY INTERNET_NAMESPACE PLAN
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import { run } from '../../platform/command.ts';
import { delay } from '../../platform/wait.ts';
import type { Lease } from '../network.ts';
import type { NetworkPolicy } from '../policy.ts';
import type { Internet } from './internet.ts';
import { egressSocket } from './lab.ts';
import { INSTANCE, labNetwork } from './lab-network.ts';
import { attemptIn, conclude, inSandbox, inShort, startOutside } from './lab-programs.ts';
import { killResolver, resolversOf } from './resolver-place.ts';
import type { Attempt } from './traveller.ts';

/** What the test wants. */
export interface Plan {
  readonly nameserver: string;
  readonly internet: Internet;
  readonly attempts: Readonly<Record<string, Attempt>>;
  /** What the machine itself may try. */
  readonly ofMachine: Readonly<Record<string, Attempt>>;
  /** The same attempts are made under each. */
  readonly policies: Readonly<Record<string, NetworkPolicy>>;
  /** Two hosts, the first of which a sandbox holds a connection to, and the other one it may reach later. */
  readonly held: readonly [string, string];
}

const [directory = '', internetNamespace = '', text = ''] = process.argv.slice(2);
const plan = JSON.parse(text) as Plan; // the test's own
const CONTROL_PORT = 8099;

const makeNetwork = () => labNetwork(directory, plan.nameserver);
const MACHINE = '/proc/self/ns/net';

/** A connection that a program in a sandbox holds. */
class Held {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  #text = '';

  constructor(lease: Lease, ...what: readonly [string, ...string[]]) {
    const [command, ...argv] = inSandbox(lease, 'traveller.ts', ...what);
    this.#process = spawn(command, argv, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#process.stdin.on('error', () => {}); // one whose connection ended is gone
    this.#process.stdout.on('data', (chunk) => {
      this.#text += chunk;
    });
  }

  until(word: 'open' | 'closed' | 'crowd'): Promise<void> {
    return this.#until(() => this.#text.includes(word));
  }

  async #until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await once(this.#process.stdout, 'data');
  }

  /** Whether what is said comes back; else the connection is over. */
  async works(): Promise<boolean> {
    const said = () => this.#text.split('again').length - 1;
    const before = said();
    this.#process.stdin.write('x\n');
    await this.#until(() => said() > before || this.#text.includes('closed'));
    return said() > before;
  }

  stop(): void {
    this.#process.kill('SIGKILL');
  }
}

const pidOf = async () => (await resolversOf(egressSocket(directory)))[0];

await startOutside(internetNamespace, 'internet.ts', plan.internet);
const first = makeNetwork();
await first.open([]);
const results: Record<string, unknown> = {
  machine: await attemptIn({ namespacePath: MACHINE }, plan.ofMachine),
};
const leases: Lease[] = [];
const told: Record<string, readonly string[]> = {};

for (const [name, policy] of Object.entries(plan.policies)) {
  const lease = await first.acquire(policy);
  leases.push(lease);
  const answer = async () =>
    (await (await fetch(`http://${plan.nameserver}:${CONTROL_PORT}/`)).json()) as string[];
  const before = (await answer()).length;
  results[name] = {
    ...(await attemptIn(lease, plan.attempts)),
    asked: [...new Set((await answer()).slice(before))].sort(),
  };
  told[name] = await allEvents(lease);
}

/** Until each connection is known to have ended: whoever made it is gone, which the proxy finds out a moment later. */
async function allEvents({ slot }: Lease): Promise<readonly string[]> {
  const events = [...inShort(await first.events(slot))];
  const many = (what: string) => events.filter((event) => event.startsWith(`Network: ${what} `)).length;
  while (many('allowed') > many('ended')) {
    await delay(10);
    events.push(...inShort(await first.events(slot)));
  }
  return events;
}

// A policy that changes while a connection is held, servers that come and go, a proxy that dies.
const [one, other] = plan.held;
const allowing = (...domains: string[]): NetworkPolicy => ({ kind: 'allowlist', cidrs: [], domains });
const lease = await first.acquire({ kind: 'open' });
leases.push(lease);
const changes: Record<string, unknown> = {};
const direct = new Held(lease, 'hold', one);
await direct.until('open');
await first.setPolicy(lease.slot, allowing(other));
changes.openedBefore = await direct.works();
await first.setPolicy(lease.slot, allowing(one));
const held = new Held(lease, 'hold', one);
await held.until('open');
await first.setPolicy(lease.slot, allowing(other, one));
changes.stillAllowed = await held.works();
const pid = await pidOf();
const status = await readFile(`/proc/${pid}/status`, 'utf8');
changes.rights = [...status.matchAll(/^(?:Uid|CapPrm|CapEff|NoNewPrivs):\t(\S+)/gm)].map(
  ([, value]) => value,
);
await first.close();
changes.withoutServer = await held.works();
const network = makeNetwork();
await network.open(
  leases.map(({ slot, addressing }) => ({
    ...{ slot, addressing },
    policy: slot === lease.slot ? allowing(other, one) : ({ kind: 'blocked' } as const),
  })),
);
changes.afterRestart = await held.works();
changes.sameProcess = (await pidOf()) === pid;
await network.setPolicy(lease.slot, allowing(other));
await held.until('closed');
changes.noMoreAllowed = await held.works();
const reach = { one: { kind: 'tls', host: one }, other: { kind: 'tls', host: other } } as const;
changes.changed = await attemptIn(lease, reach);
if (pid !== undefined) await killResolver(pid);
while ((await pidOf()) === undefined) await delay(10);
while ((await attemptIn(lease, reach)).other === 'closed') await delay(10);
changes.revived = await attemptIn(lease, reach);
await network.setPolicy(lease.slot, { kind: 'allowlist', cidrs: [], domains: [one], audited: true });
const last = new Held(lease, 'hold', one);
await last.until('open');
await last.works();
// Connections from before, to the other host, may end in between.
changes.lastEvents = inShort(await network.lastEvents(lease.slot)).filter((event) => event.includes(one));
last.stop();
// One that takes all it can get keeps nobody else from theirs.
const crowded = await network.acquire(allowing(one));
leases.push(crowded);
const crowd = new Held(crowded, 'crowd', plan.internet.secure[0] ?? '', '600');
await crowd.until('crowd');
await network.setPolicy(lease.slot, allowing(one, other));
changes.besideACrowd = await attemptIn(lease, reach);
crowd.stop();
// One that hears nothing any more is replaced.
const silent = await pidOf();
if (silent !== undefined) process.kill(silent, 'SIGSTOP');
changes.deaf = await network.setPolicy(lease.slot, allowing(other)).then(
  () => 'took it',
  (error: Error) => error.message,
);
while ((await pidOf()) === silent) await delay(10);
while ((await attemptIn(lease, reach)).other === 'closed') await delay(10);
await network.setPolicy(lease.slot, allowing(other));
changes.heardAgain = await attemptIn(lease, reach);
await network.setPolicy(lease.slot, { kind: 'blocked' });
changes.blocked = await attemptIn(lease, reach);
await network.setPolicy(lease.slot, { kind: 'open' });
changes.opened = await attemptIn(lease, reach);
results.changes = changes;
results.told = told;
held.stop();
direct.stop();
for (const { slot } of leases) await network.release(slot);
await network.close();
await network.remove();
const { stdout: links } = await run(['ip', '-o', 'link']);
changes.left = links.includes(`sk${INSTANCE}`) || (await pidOf()) !== undefined;
conclude(results);
