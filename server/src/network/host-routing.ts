/** What sandboxes' traffic needs of the host beyond our own table: forwarding switched on, the resolver's address, a way past others' firewalls. */
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { run } from '../platform/command.ts';

const forwardSwitch = '/proc/sys/net/ipv4/ip_forward';
const markerDir = '/run';

/** Names what all servers of this network namespace share: the switch is one for them all. */
async function markers(): Promise<{ readonly user: string; readonly wasOff: string }> {
  const { ino } = await stat('/proc/self/ns/net');
  return { user: `skerry-forwarding-${ino}-`, wasOff: `${markerDir}/skerry-forwarding-was-off-${ino}` };
}

/** Switches IPv4 forwarding on for this server, remembering when it was off before the first of them came. */
export async function enableForwarding(instance: string): Promise<void> {
  const { user } = await markers();
  await writeFile(`${markerDir}/${user}${instance}`, '');
  await keepForwarding();
}

/** Switches it on again where somebody (`sysctl --system`, a service's script) switched it off. @returns whether it was off */
export async function keepForwarding(): Promise<boolean> {
  if ((await readFile(forwardSwitch, 'utf8')).trim() === '1') return false;
  await writeFile((await markers()).wasOff, '');
  await writeFile(forwardSwitch, '1');
  return true;
}

/** This server needs it no more; switches it off when none does and it was off before them. */
export async function restoreForwarding(instance: string): Promise<void> {
  const { user, wasOff } = await markers();
  const needed = async () => (await readdir(markerDir)).some((name) => name.startsWith(user));
  await rm(`${markerDir}/${user}${instance}`, { force: true });
  if (await needed()) return;
  try {
    await rm(wasOff);
  } catch {
    return; // it was on before us, or another one that leaves has just done this
  }
  await writeFile(forwardSwitch, '0');
  if (await needed()) await keepForwarding(); // of one that came meanwhile and still found it on
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
