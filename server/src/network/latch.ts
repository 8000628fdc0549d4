/**
 * What keeps sandboxes in when our rules are gone: `nft flush ruleset`, by an administrator or a firewall service that loads its own rules anew, removes
 * them all, and the kernel forwards what no rule forbids. So a sandbox's packets are of no use by themselves: its gateway has a fixed hardware address
 * that is nobody's, the kernel takes what arrives for another station's and drops it before any routing (packet(7), PACKET_OTHERHOST), for the host's own
 * addresses too. Only a rule in a table beside the firewall says that they are for this machine, and goes together with it.
 *
 * A program in a sandbox cannot send to another hardware address: that takes CAP_NET_ADMIN or packet sockets, and it has neither.
 */
import { run } from '../platform/command.ts';

/** The gateway's hardware address, as sandboxes know it: locally administered, and no device has it. */
export const GATEWAY_ADDRESS = '02:00:00:00:00:01';

/** Before everything that has a priority by name. */
const PRIORITY = -500;

const chainOf = (device: string): string => `from_${device}`;

/** Lets the machine take the packets of these devices, which exist; once more is fine. */
export function renderOpen(table: string, devices: readonly string[]): string {
  const lines = devices.flatMap((device) => {
    const chain = `netdev ${table} ${chainOf(device)}`;
    return [
      `add chain ${chain} { type filter hook ingress device "${device}" priority ${PRIORITY}; policy accept; }`,
      `flush chain ${chain}`,
      `add rule ${chain} meta pkttype set host`,
    ];
  });
  return [`add table netdev ${table}`, ...lines].join('\n');
}

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

/** Whether the table is there: not when somebody flushed everything. */
export async function latchStands(table: string): Promise<boolean> {
  const { code } = await run(['nft', 'list', 'table', 'netdev', table], { okCodes: [1] });
  return code === 0;
}

/** Whether the kernel has what this takes: nf_tables at the ingress of devices (CONFIG_NETFILTER_INGRESS). */
export async function hasLatch(table: string): Promise<boolean> {
  const probe = `${renderOpen(table, ['lo'])}\n`;
  try {
    await run(['nft', '--check', '-f', '-'], { input: probe });
    return true;
  } catch {
    return false;
  }
}
