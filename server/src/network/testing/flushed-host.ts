/**
 * A machine for `network.test.ts`: started in a network namespace of the test's own, it opens a network with sandboxes there, takes rules away from under
 * it, and prints as JSON who received what the sandboxes sent.
 *
 *   node flushed-host.ts DIRECTORY OUTSIDE_NAMESPACE ADDRESSES WATCH_MS
 *
 * ADDRESSES is an object of `host`, `outside` and `closed`: this machine's own, and the other's public and private one. With a WATCH_MS of an hour
 * everything that somebody may take away is taken, one after the other, with one look of the watch between; else the ruleset is flushed, once.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { run } from '../../platform/command.ts';
import { parseCidr } from '../cidr.ts';
import type { Lease } from '../network.ts';
import { AddressPlan } from '../subnet.ts';
import { Peer } from './datagrams.ts';
import { INSTANCE, labNetwork, SUBNET } from './lab-network.ts';

const COUNT = 3;
const TABLE = `skerry_${INSTANCE}`;

const [directory = '', outsideNamespace = '', addresses = '', watch = ''] = process.argv.slice(2);
const { host, outside, closed } = JSON.parse(addresses) as Record<string, string>; // the test's own
const network = labNetwork(directory, outside ?? '', { watchMs: Number(watch) });
await network.open([]);
const open = await network.acquire({ kind: 'open' });
const neighbour = await network.acquire({ kind: 'open' });
const blocked = await network.acquire({ kind: 'blocked' });
const listed = await network.acquire({ kind: 'allowlist', cidrs: ['192.0.2.0/24'] });
const named = await network.acquire({ kind: 'allowlist', cidrs: [], domains: ['*'] });
const sandboxes = [open, neighbour, blocked, listed, named];
const plan = new AddressPlan(parseCidr(SUBNET));
const gateway = plan.hostAddress(open.slot);
const neighbourAddress = plan.slotAddress(neighbour.slot);
const inSandbox = ({ namespacePath }: Lease) => new Peer(['nsenter', `--net=${namespacePath}`]);
const machine = new Peer([]);
const other = new Peer(['ip', 'netns', 'exec', outsideNamespace]);
const peers = new Map(sandboxes.map((lease) => [lease, inSandbox(lease)]));
const everybody = [machine, other, ...peers.values()];
for (const peer of everybody) await peer.until('ready');

/** Who sends where, by a name for what that is. */
const ways = {
  outside: { from: open, to: outside ?? '' },
  gateway: { from: open, to: gateway },
  host: { from: open, to: host ?? '' },
  neighbour: { from: open, to: neighbourAddress },
  closed: { from: open, to: closed ?? '' },
  blocked: { from: blocked, to: outside ?? '' },
  listed: { from: listed, to: outside ?? '' },
  named: { from: named, to: outside ?? '' },
} as const;

const arrived = async (slot: number) =>
  Number(await readFile(`/sys/class/net/sk${INSTANCE}${slot}/statistics/rx_packets`, 'utf8'));

/** How many datagrams were received on each way. */
async function received(round: string): Promise<Record<string, number>> {
  for (const [from, peer] of peers) {
    const before = await arrived(from.slot);
    const messages = Object.entries(ways)
      .filter(([, way]) => way.from === from)
      .flatMap(([name, { to }]) => Array.from({ length: COUNT }, () => ({ to, text: `${round} ${name}` })));
    if (messages.length === 0) continue;
    await peer.send(messages);
    // All are at this machine's end of the cable; what the kernel lets through it has passed on by then, and before the marks that follow.
    while ((await arrived(from.slot)) < before + messages.length) await pause(5);
  }
  const mark = `${round} over`;
  await machine.send([{ to: outside ?? '', text: mark }]);
  for (const peer of everybody) {
    if (peer !== other) await peer.send([{ to: '127.0.0.1', text: mark }]); // without rules nobody else reaches a sandbox
    await peer.until(mark);
  }
  const count = (name: string) => everybody.reduce((sum, peer) => sum + peer.count(`${round} ${name}`), 0);
  return Object.fromEntries(Object.keys(ways).map((name) => [name, count(name)]));
}

interface Listed {
  readonly chain?: { readonly family: string; readonly name: string };
  readonly set?: { readonly family: string; readonly name: string };
  readonly map?: { readonly family: string; readonly name: string };
  readonly rule?: { readonly family: string; readonly chain: string; readonly handle: number };
}

const ruleset = async (): Promise<readonly Listed[]> =>
  JSON.parse((await run(['nft', '--json', 'list', 'ruleset'])).stdout).nftables;

/** Every single rule of the firewall that decides anything, by its chain and number in it. */
async function rules(): Promise<Map<string, string>> {
  const all = new Map<string, string>();
  const counts = new Map<string, number>();
  for (const { rule } of await ruleset()) {
    if (rule?.family !== 'inet' || /^(mend_|inward)/.test(rule.chain)) continue;
    const { chain, handle } = rule;
    const number = (counts.get(chain) ?? 0) + 1;
    counts.set(chain, number);
    all.set(`delete rule ${number} of ${chain}`, `delete rule inet ${TABLE} ${chain} handle ${handle}`);
  }
  return all;
}

/** Every part of our rules that nft can take away by its name, with the commands. */
async function parts(): Promise<Map<string, readonly string[]>> {
  const inet = `inet ${TABLE}`;
  const netdev = `netdev ${TABLE}`;
  const all = new Map<string, readonly string[]>([
    ['flush ruleset', ['flush ruleset']],
    ['delete all tables', [`delete table ${inet}`, `delete table ip ${TABLE}`, `delete table ${netdev}`]],
    ['delete table inet', [`delete table ${inet}`]],
    ['delete table netdev', [`delete table ${netdev}`]],
    ['flush table inet', [`flush table ${inet}`]],
    ['flush table netdev', [`flush table ${netdev}`]],
  ]);
  for (const { chain, set, map } of await ruleset()) {
    if (chain) all.set(`flush chain ${chain.name}`, [`flush chain ${chain.family} ${TABLE} ${chain.name}`]);
    if (set) all.set(`flush set ${set.name}`, [`flush set ${set.family} ${TABLE} ${set.name}`]);
    if (map) all.set(`flush map ${map.name}`, [`flush map ${map.family} ${TABLE} ${map.name}`]);
  }
  return all;
}

const results: Record<string, unknown> = { before: await received('before') };
if (Number(watch) > 60_000) {
  for (const [name, commands] of await parts()) {
    for (const command of commands) await run(['nft', ...command.split(' ')]);
    const without = await received(name);
    await network.mendRules();
    results[name] = { without, mended: await received(`${name}, mended`) };
  }
  for (const name of (await rules()).keys()) {
    const command = (await rules()).get(name); // each time they are made anew they have other handles
    await run(['nft', ...(command ?? '').split(' ')]);
    const without = await received(name);
    await network.mendRules();
    results[name] = { without };
  }
} else {
  await run(['nft', 'flush', 'ruleset']);
  let round = 0;
  do results.mended = await received(`round ${++round}`);
  while (Object.values(results.mended as object).every((count) => count === 0));
}
process.stdout.write(`${JSON.stringify(results)}\n`);
for (const peer of everybody) peer.stop();
for (const { slot } of sandboxes) await network.release(slot);
await network.close();
await network.remove();
