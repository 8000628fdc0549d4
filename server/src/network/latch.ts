/**
 * What keeps sandboxes in when our rules are gone: `nft flush ruleset`, by an administrator or a firewall service that loads its own rules anew, removes
 * them all, and the kernel forwards what no rule forbids. So a sandbox's packets are of no use by themselves, and become so in two steps:
 *
 * 1. Its gateway has a fixed hardware address that is nobody's, the kernel takes what arrives for another station's and drops it before any routing
 *    (packet(7), PACKET_OTHERHOST), for the host's own addresses too. A rule in a table beside the firewall, at the ingress of its device, says that the
 *    packets are for all stations (PACKET_MULTICAST), which takes them as far as the firewall.
 * 2. The kernel forwards no such packet (`ip_forward`), and hands none to its own programs that is not to a group's address (`ip_rcv_finish`, with
 *    `drop_unicast_in_l2_multicast`). Only the rule of the firewall that accepts a packet says that it is for this machine.
 *
 * So neither table lets anything through without the other. A program in a sandbox cannot send to another hardware address: that takes CAP_NET_ADMIN or
 * packet sockets, and it has neither.
 */
import { writeFile } from 'node:fs/promises';
import { run } from '../platform/command.ts';
import type { FirewallMember } from './firewall.ts';
import type { AddressPlan } from './subnet.ts';
import { renderMendOutward, renderOutward } from './translation.ts';

/** The gateway's hardware address, as sandboxes know it: locally administered, and no device has it. */
export const GATEWAY_ADDRESS = '02:00:00:00:00:01';

/** Before everything that has a priority by name. */
const PRIORITY = -500;

const chainOf = (device: string): string => `from_${device}`;

/** Lets the packets of these members, whose devices exist, come as far as the firewall; once more is fine. The table must be there. */
export function renderOpen(table: string, plan: AddressPlan, members: readonly FirewallMember[]): string {
  const lines = members.flatMap((member) => {
    const { hostInterface: device, addressing } = member;
    const chain = `netdev ${table} ${chainOf(device)}`;
    const rules = [
      ...(addressing === 'constant' ? renderOutward(member, plan) : []),
      'meta protocol ip meta pkttype set multicast',
    ];
    return [
      `add chain ${chain} { type filter hook ingress device "${device}" priority ${PRIORITY}; policy accept; }`,
      `flush chain ${chain}`,
      ...rules.map((rule) => `add rule ${chain} ${rule}`),
    ];
  });
  return lines.join('\n');
}

/** The table without any device, in place of what there is. */
export const renderLatch = (table: string): string =>
  `${renderNoLatch(table)}table netdev ${table} {\n${renderMendOutward()}\n}\n`;

/** Takes back what `renderOpen` did, whatever of it is there: kernels differ in what they remove with a device. */
export function renderClosed(table: string, device: string): string {
  const chain = `netdev ${table} ${chainOf(device)}`;
  return [
    `add table netdev ${table}`,
    `add chain ${chain}`,
    `flush chain ${chain}`,
    `delete chain ${chain}`,
  ].join('\n');
}

/** Removes the table; fine when it is not there. */
export const renderNoLatch = (table: string): string =>
  `table netdev ${table}\ndelete table netdev ${table}\n`;

/** Has the kernel drop what comes from this device and no rule accepted, where it is for the machine itself. It forwards none in any case. */
export const dropUnjudged = (device: string): Promise<void> =>
  writeFile(`/proc/sys/net/ipv4/conf/${device}/drop_unicast_in_l2_multicast`, '1');

/** Those of the devices that lack a rule: somebody flushed it, or everything, or the device went. */
export async function notLetOut(table: string, devices: readonly string[]): Promise<string[]> {
  const { stdout } = await run(['nft', 'list', 'table', 'netdev', table], { okCodes: [1] });
  const chains = [...stdout.matchAll(/chain (\S+) \{([^}]*)\}/g)];
  const open = new Set(
    chains.filter(([, , rules]) => rules?.includes('pkttype set')).map(([, name]) => name),
  );
  return devices.filter((device) => !open.has(chainOf(device)));
}

/** Whether the kernel has what this takes: nf_tables at the ingress of devices (CONFIG_NETFILTER_INGRESS). */
export async function hasLatch(table: string, plan: AddressPlan): Promise<boolean> {
  const member: FirewallMember = {
    hostInterface: 'lo',
    hostAddress: plan.hostAddress(1),
    address: plan.slotAddress(1),
    addressing: 'constant',
    policy: { kind: 'blocked' },
  };
  const probe = `${renderLatch(table)}${renderOpen(table, plan, [member])}\n`;
  try {
    await run(['nft', '--check', '-f', '-'], { input: probe });
    return true;
  } catch {
    return false;
  }
}
