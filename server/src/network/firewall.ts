/**
 * The server's own nftables table. Rules are fixed; what differs between sandboxes is in sets and maps keyed by interface, so that one short
 * `nft -f -` changes a sandbox's policy at once. Every outbound packet meets the policy (there is no shortcut for established connections), and so
 * does every inbound one with source and destination swapped: a tightened policy cuts connections that exist.
 *
 * What a sandbox sends comes here good for nothing (`latch.ts`): the same rule that accepts a packet makes it the machine's (`meta pkttype set host`),
 * and the kernel drops what none did. A rule that accepts says all by itself what it accepts, and relies on no rule before it that takes something out. So
 * whichever rule of these somebody deletes, whichever chain or set somebody empties, less goes out, never more. It is judged before routing, where the kernel does not
 * yet know whether it is for the machine itself, and after others' translation of its destination.
 *
 * What goes to a sandbox is judged last of all, by rules that give it the address which the sandbox knows (`translation.ts`): what they did not accept
 * the sandbox does not take for its own. What the machine itself sends has come in by no device (`iif 0`), and is not judged.
 *
 * A sandbox that may reach domains (`proxied`) has its questions and its connections to the ports of HTTP and TLS led to the egress proxy (`egress.ts`), but
 * for addresses that its list has: those it reaches as it does without domains. Without the rules that lead there it reaches the list alone.
 *
 * A sandbox that may reach everything, or ranges of addresses, and has secret headers (`secured`) has its connections to the port of TLS led there, and no other way to
 * that port.
 */
import { run } from '../platform/command.ts';
import { type Cidr, formatCidr, parseCidr, withoutOverlaps } from './cidr.ts';
import type { Addressing } from './inside.ts';
import { closedNetworks, domainsOf, type NetworkPolicy, parseAllowlist } from './policy.ts';
import type { AddressPlan } from './subnet.ts';
import { renderInward } from './translation.ts';

export interface FirewallMember {
  readonly hostInterface: string;
  /** The host's end of its cable. */
  readonly hostAddress: string;
  /** Its own address of the sandbox network, whatever it sees itself. */
  readonly address: string;
  readonly addressing: Addressing;
  readonly policy: NetworkPolicy;
}

export interface FirewallOptions {
  readonly table: string;
  /** What all interfaces of this server, and no others, begin with. */
  readonly interfacePrefix: string;
  readonly plan: AddressPlan;
  /** The device of the egress proxy, whether or not it is there. */
  readonly egressInterface: string;
  /** CIDRs excepted from `closedNetworks`. */
  readonly allowPrivate: readonly string[];
}

/** Of the tables: this one's, and that of the bound (`connection-bound.ts`). */
const families = ['inet', 'ip'] as const;

const join = (elements: readonly string[]): string => elements.join(', ');
const elementsOf = (cidrs: readonly Cidr[]): string =>
  cidrs.length > 0 ? `elements = { ${join(cidrs.map(formatCidr))} };` : '';

/** Names come from our own numbering; this keeps a mistake from becoming a rule. */
function checked(name: string): string {
  if (!/^[a-z0-9_-]{1,15}$/.test(name)) throw new TypeError(`not an interface name: ${JSON.stringify(name)}`);
  return name;
}

/** The whole table without members, replacing what there is in one transaction. */
export function renderTable(options: FirewallOptions, members: readonly FirewallMember[]): string {
  const { table, plan } = options;
  const ours = `"${checked(options.interfacePrefix)}*"`;
  const closed = `{ ${join(closedNetworks.map(formatCidr))} }`; // within the rule: a set by itself could be emptied
  const egressDevice = `"${checked(options.egressInterface)}"`;
  const egress = plan.slotAddress(plan.egressSlot);
  const exceptions = withoutOverlaps(options.allowPrivate.map(parseCidr));
  const lines = [
    `table inet ${table}`,
    `delete table inet ${table}`,
    `table inet ${table} {
  set guests { type ifname . ipv4_addr; }
  set own { type ifname; }
  set resolving { type ifname; }
  set proxied { type ifname; }
  set secured { type ifname; }
  set listed { type ifname . ipv4_addr; flags interval; auto-merge; }
  set excepted { type ipv4_addr; flags interval; ${elementsOf(exceptions)} }
  chain refuse {
    meta l4proto tcp meta pkttype set host reject with tcp reset
    meta pkttype set host reject with icmpx type admin-prohibited
  }
  chain to_open {
    ip daddr != ${plan.cidr} ip daddr @excepted meta pkttype set host accept
    ip daddr != ${plan.cidr} ip daddr != ${closed} meta pkttype set host accept
    goto refuse
  }
${renderInward(plan)}
  chain from_open {
    ip saddr != ${plan.cidr} ip saddr @excepted goto inward
    ip saddr != ${plan.cidr} ip saddr != ${closed} goto inward
    drop
  }
  chain to_listed {
    iifname . ip daddr @listed goto to_open
    goto refuse
  }
  chain from_listed {
    oifname . ip saddr @listed goto from_open
    drop
  }
  chain to_egress {
    meta l4proto { tcp, udp } th dport 53 meta pkttype set host accept
    tcp dport { 80, 443 } meta pkttype set host accept
    goto refuse
  }
${['open', 'listed'].map((chain) => renderSecured(chain, egress)).join('\n')}
  map outbound { type ifname : verdict; }
  map inbound { type ifname : verdict; }
  chain leaving {
    ip daddr ${egress} iifname @proxied goto to_egress
    iifname ${egressDevice} ip daddr ${plan.cidr} ct state established ct direction reply meta pkttype set host accept
    fib daddr type unicast iifname vmap @outbound
    fib daddr type != unicast goto to_host
    goto refuse
  }
  chain arriving {
    meta nfproto ipv4 meta iif 0 goto inward
    oifname ${egressDevice} iifname @proxied goto inward
    oifname ${egressDevice} iifname @secured goto inward
    ct state { established, related } iifname ${egressDevice} oifname @proxied ct direction reply goto inward
    ct state { established, related } iifname ${egressDevice} oifname @secured ct direction reply goto inward
    ct state { established, related } oifname vmap @inbound
    drop
  }
  chain to_host {
    ct state { established, related } ct direction reply meta pkttype set host accept
    iifname @resolving ip daddr ${plan.resolver} udp dport 53 meta pkttype set host accept
    iifname @resolving ip daddr ${plan.resolver} tcp dport 53 meta pkttype set host accept
    goto refuse
  }
  chain redirecting {
    type nat hook prerouting priority dstnat; policy accept;
    iifname @secured tcp dport 443 dnat ip to ${egress}
    iifname != @proxied accept
    ip daddr ${plan.resolver} meta l4proto { tcp, udp } th dport 53 dnat ip to ${egress}
    iifname . ip daddr @listed accept
    tcp dport { 80, 443 } dnat ip to ${egress}
  }
  chain judgement {
    type filter hook prerouting priority dstnat + 10; policy accept;
    iifname ${ours} iifname . ip saddr @guests goto leaving
    iifname ${ours} drop
  }
  chain delivery {
    type filter hook postrouting priority srcnat + 50; policy accept;
    oifname ${ours} jump arriving
    oifname ${ours} drop
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${plan.cidr} oifname != ${ours} masquerade
  }
}`,
    ...members.map((member) => renderAdd(table, member)),
  ];
  return `${lines.filter((line) => line !== '').join('\n')}\n`;
}

/** For the rest of what a sandbox with secret headers sends: as another may that has none, but for the port of TLS. */
const renderSecured = (chain: string, egress: string): string => `  chain to_secured_${chain} {
    ip daddr ${egress} tcp dport 443 meta pkttype set host accept
    meta l4proto { tcp, udp } th dport != 443 goto to_${chain}
    meta l4proto != { tcp, udp } goto to_${chain}
    goto refuse
  }`;

/** Whether the port of TLS leads to the proxy, though addresses decide about others. */
const isSecured = (policy: NetworkPolicy): boolean =>
  policy.headers !== undefined &&
  (policy.kind === 'open' || (policy.kind === 'allowlist' && policy.cidrs.length > 0));

/** Adds a member that is not in the table. A `blocked` one is in no map: the chains' last word is no. */
export function renderAdd(table: string, member: FirewallMember): string {
  const name = `"${checked(member.hostInterface)}"`;
  const lines = [`add element inet ${table} guests { ${name} . ${member.address} }`];
  if (member.addressing === 'own') lines.push(`add element inet ${table} own { ${name} }`);
  if (member.policy.kind === 'allowlist') {
    const cidrs = parseAllowlist(member.policy.cidrs);
    if (cidrs.length > 0) {
      lines.push(
        `add element inet ${table} listed { ${join(cidrs.map((cidr) => `${name} . ${formatCidr(cidr)}`))} }`,
      );
    }
  }
  if (member.policy.kind !== 'blocked') {
    const chain = member.policy.kind === 'open' ? 'open' : 'listed';
    const secured = isSecured(member.policy);
    lines.push(
      `add element inet ${table} outbound { ${name} : goto to_${secured ? 'secured_' : ''}${chain} }`,
      `add element inet ${table} inbound { ${name} : goto from_${chain} }`,
      `add element inet ${table} ${domainsOf(member.policy).length > 0 ? 'proxied' : 'resolving'} { ${name} }`,
    );
    if (secured) lines.push(`add element inet ${table} secured { ${name} }`);
  }
  return lines.join('\n');
}

/** Removes what `renderAdd` added for the same member. */
export function renderRemove(table: string, member: FirewallMember): string {
  return renderAdd(table, member)
    .replaceAll(/^add /gm, 'delete ')
    .replaceAll(/ : goto \w+/g, '');
}

/** Applies a script in one kernel transaction. */
export async function applyRules(script: string): Promise<void> {
  await run(['nft', '-f', '-'], { input: script, timeoutMs: 20_000 });
}

/** The rules as the kernel has them, without what differs between sandboxes and what counts; nothing of a table that is not there. */
export async function rulesInForce(table: string): Promise<string> {
  const listed = families.map((family) =>
    run(['nft', '--terse', '--stateless', 'list', 'table', family, table], { okCodes: [1] }),
  );
  return (await Promise.all(listed)).map(({ stdout }) => stdout).join('');
}

/** Whether everything that `renderAdd` adds for these members is in the table. Changes nothing. */
export async function hasMembers(table: string, members: readonly FirewallMember[]): Promise<boolean> {
  const input = `${members.map((member) => renderRemove(table, member)).join('\n')}\n`;
  const { code } = await run(['nft', '--check', '-f', '-'], { input, okCodes: [1], timeoutMs: 20_000 });
  return code === 0;
}

/** Removes the tables with everything in them; fine when they are not there. */
export const removeTables = (table: string): Promise<void> =>
  applyRules(
    families.map((family) => `table ${family} ${table}\ndelete table ${family} ${table}\n`).join(''),
  );
