/** What sandboxes' traffic needs of the host beyond our own table: forwarding switched on, the resolver's address, a way past others' firewalls. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { run } from '../platform/command.ts';

const forwardSwitch = '/proc/sys/net/ipv4/ip_forward';
/** Shared by all servers of a machine: there while forwarding was off before the first of them came. */
const wasOffMarker = '/run/skerry-ip-forward-was-off';

/** Switches IPv4 forwarding on, remembering when it was off. */
export async function enableForwarding(): Promise<void> {
  if ((await readFile(forwardSwitch, 'utf8')).trim() === '1') return;
  await writeFile(wasOffMarker, '');
  await writeFile(forwardSwitch, '1');
}

/** Switches forwarding off again when a server of ours had switched it on and no table of another one is left. */
export async function restoreForwarding(): Promise<void> {
  const { stdout } = await run(['nft', 'list', 'tables']);
  if (stdout.includes(' skerry_')) return;
  try {
    await rm(wasOffMarker);
  } catch {
    return; // it was on before us
  }
  await writeFile(forwardSwitch, '0');
}

/** The resolver's address lives on `lo`, labelled with the instance, so that no device of its own is needed. */
export async function addResolverAddress(address: string, label: string): Promise<void> {
  await run(['ip', 'address', 'replace', `${address}/32`, 'dev', 'lo', 'label', `lo:${label}`]);
}

/** Removes what `addResolverAddress` added under this label, whatever the address was. */
export async function removeResolverAddress(label: string): Promise<void> {
  const { stdout } = await run(['ip', '-o', '-4', 'address', 'show', 'dev', 'lo', 'label', `lo:${label}`]);
  const address = /inet (\S+)/.exec(stdout)?.[1];
  if (address) await run(['ip', 'address', 'del', address, 'dev', 'lo']);
}

/** The rules that let our packets pass a host firewall made with iptables (Docker, ufw set such policies). Our own table has already judged them. */
const passRules = (prefix: string, resolver: string): (readonly string[])[] => [
  ['FORWARD', '-i', `${prefix}+`, '-j', 'ACCEPT'],
  ['FORWARD', '-o', `${prefix}+`, '-j', 'ACCEPT'],
  ['INPUT', '-i', `${prefix}+`, '-d', resolver, '-p', 'udp', '--dport', '53', '-j', 'ACCEPT'],
  ['INPUT', '-i', `${prefix}+`, '-d', resolver, '-p', 'tcp', '--dport', '53', '-j', 'ACCEPT'],
];

export type HostFirewall = 'absent' | 'open' | 'restrictive';

/** Whether iptables rules exist that could drop sandboxes' packets after our table let them pass. */
export async function hostFirewall(): Promise<HostFirewall> {
  try {
    const { stdout } = await run(['iptables', '-w', '5', '-S']);
    const ruled = stdout
      .split('\n')
      .some((line) => /^-P (FORWARD|INPUT) (DROP|REJECT)/.test(line) || /^-A (FORWARD|INPUT) /.test(line));
    return ruled ? 'restrictive' : 'open';
  } catch {
    return 'absent';
  }
}

/** Puts our accept rules first when the host's firewall is restrictive. */
export async function passHostFirewall(prefix: string, resolver: string): Promise<void> {
  if ((await hostFirewall()) !== 'restrictive') return;
  await leaveHostFirewall(prefix, resolver);
  for (const [chain = '', ...rule] of passRules(prefix, resolver)) {
    await run(['iptables', '-w', '5', '-I', chain, ...rule]);
  }
}

/** Removes our accept rules where they are. */
export async function leaveHostFirewall(prefix: string, resolver: string): Promise<void> {
  if ((await hostFirewall()) !== 'restrictive') return;
  for (const rule of passRules(prefix, resolver)) {
    await run(['iptables', '-w', '5', '-D', ...rule], { okCodes: [1, 2] });
  }
}
