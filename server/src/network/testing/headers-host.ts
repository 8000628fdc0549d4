/**
 * A machine for `secret-headers.test.ts`: started in a network namespace of the test's own, it opens a network with sandboxes that have secret headers, and prints as
 * JSON what came of what they tried.
 *
 *   node headers-host.ts DIRECTORY INTERNET_NAMESPACE
 *
 * What the test wants is in `plan.json` of the directory.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../platform/command.ts';
import { delay } from '../../platform/wait.ts';
import type { Lease } from '../network.ts';
import type { NetworkPolicy } from '../policy.ts';
import type { HeaderRule, HeaderTrust } from '../secret-headers.ts';
import type { Site } from './https-sites.ts';
import type { HttpsAttempt, HttpsPlan } from './https-traveller.ts';
import type { Internet } from './internet.ts';
import { egressSocket } from './lab.ts';
import { labNetwork } from './lab-network.ts';
import { conclude, inSandbox, startOutside } from './lab-programs.ts';
import { killResolver, resolversOf } from './resolver-place.ts';

export interface HeadersPlan {
  readonly nameserver: string;
  readonly internet: Internet;
  readonly sites: readonly Site[];
  readonly trust: HeaderTrust;
  /** Sandboxes by name: each tries the same. */
  readonly sandboxes: Readonly<
    Record<string, { readonly policy: NetworkPolicy; readonly rules?: readonly HeaderRule[] }>
  >;
  readonly attempts: HttpsPlan['attempts'];
  /** What is tried with much to carry, by the first sandbox. */
  readonly large: HttpsPlan['attempts'];
  /** What the first sandbox tries again after changes; the first of it is a connection that it holds. */
  readonly again: HttpsPlan['attempts'];
  readonly changed: readonly HeaderRule[];
}

const [directory = '', namespace = ''] = process.argv.slice(2);
const plan = JSON.parse(readFileSync(join(directory, 'plan.json'), 'utf8')) as HeadersPlan; // the test's own
/** Nothing is sealed here. */
const seal = (rules: readonly HeaderRule[]): string => JSON.stringify(rules);
const makeNetwork = () =>
  labNetwork(directory, plan.nameserver, {
    secretHeaders: { open: (sealed) => JSON.parse(sealed), trust: async () => plan.trust },
  });
const withRules = (policy: NetworkPolicy, rules: readonly HeaderRule[] | undefined): NetworkPolicy =>
  rules ? { ...policy, headers: seal(rules) } : policy;

let files = 0;
function planFile(attempts: Readonly<Record<string, HttpsAttempt>>): string {
  const file = join(directory, `attempts-${files++}.json`);
  const trusted = [plan.trust.authority.cert, ...plan.trust.roots];
  writeFileSync(file, JSON.stringify({ trusted, attempts } satisfies HttpsPlan));
  return file;
}
const command = (lease: Lease, ...rest: readonly string[]) => inSandbox(lease, 'https-traveller.ts', ...rest);
async function attempt(lease: Lease, attempts: HttpsPlan['attempts']): Promise<Record<string, string>> {
  const { stdout } = await run(command(lease, planFile(attempts)), { timeoutMs: 240_000 });
  return JSON.parse(stdout);
}
const pidOf = async () => (await resolversOf(egressSocket(directory)))[0];

await startOutside(namespace, 'internet.ts', plan.internet);
await startOutside(namespace, 'https-sites.ts', plan.sites);
let network = makeNetwork();
await network.open([]);
const leases: Lease[] = [];
const results: Record<string, unknown> = {};
for (const [name, { policy, rules }] of Object.entries(plan.sandboxes)) {
  const lease = await network.acquire(withRules(policy, rules));
  leases.push(lease);
  results[name] = await attempt(lease, plan.attempts);
}
const [lease] = leases;
const [{ policy, rules } = { policy: { kind: 'open' } as const, rules: undefined }] = Object.values(
  plan.sandboxes,
);
if (!lease) throw new Error('there is no sandbox');
const large = await attempt(lease, plan.large);
const peak = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${await pidOf()}/status`, 'utf8'))?.[1];
results.large = { ...large, peakKiB: Number(peak) };

const changes: Record<string, unknown> = {};
const [[firstName, first] = ['', undefined]] = Object.entries(plan.again);
if (!first) throw new Error('nothing is tried again');
const [program, ...rest] = command(lease, 'hold', planFile({ [firstName]: first }));
const held = spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
let said = '';
held.stdout.on('data', (chunk) => {
  said += chunk;
});
const until = async (word: string) => {
  while (!said.includes(word)) await once(held.stdout, 'data');
};
await until('open');
await network.setPolicy(lease.slot, withRules(policy, plan.changed));
changes.changed = await attempt(lease, plan.again);
changes.goesOn = !said.includes('closed');
await network.close();
network = makeNetwork();
const known = Object.values(plan.sandboxes);
await network.open(
  leases.map(({ slot, addressing }, index) => ({
    ...{ slot, addressing },
    policy:
      index === 0
        ? withRules(policy, plan.changed)
        : withRules(known[index]?.policy ?? policy, known[index]?.rules),
  })),
);
changes.afterRestart = await attempt(lease, plan.again);
await network.setPolicy(lease.slot, withRules(policy, []));
await until('closed');
changes.without = await attempt(lease, plan.again);
await network.setPolicy(lease.slot, withRules(policy, rules));
const pid = await pidOf();
if (pid !== undefined) await killResolver(pid);
while ([undefined, pid].includes(await pidOf())) await delay(10);
let revived = await attempt(lease, plan.again);
while (!Object.values(revived).every((result) => result.includes('200')))
  revived = await attempt(lease, plan.again);
changes.revived = revived;
results.changes = changes;
held.kill('SIGKILL');
for (const { slot } of leases) await network.release(slot);
await network.close();
await network.remove();
conclude(results);
