/**
 * How much one sandbox may take of the machine's table of connections (`nf_conntrack`), in which everybody's are: a full one lets nobody connect. What is
 * counted is in the kernel, in a table beside the firewall's that stays when that one is made anew.
 *
 * A connection is counted by its first packet that the firewall let through, when it is not in the kernel's table yet (`ct status` not confirmed): the kernel
 * counts some twice otherwise. It forgets by itself those that ended (nf_conncount). TCP's that are closed do not count, though they stay in the table for
 * a while: this is made shorter here, and how fast new ones may follow is bounded as well. That comes first: the kernel forgets a few of those that it refused with each
 * new one, and would remember more and more of them else.
 *
 * What is left of a sandbox when it ends is taken out of the kernel's table by the program of `connections/`.
 */
import { run } from '../platform/command.ts';

export interface BoundOptions {
  readonly table: string;
  /** What all interfaces of this server, and no others, begin with. */
  readonly interfacePrefix: string;
  /** The device of the egress proxy: what it opens, it opens for one who opened a connection to it. */
  readonly egressInterface: string;
  /** Connections that each sandbox may have at once; flows of UDP and of other protocols count too. */
  readonly maxConnections: number;
  /** Whether closed ones can be forgotten early: an old kernel may lack what that takes (CONFIG_NF_CONNTRACK_TIMEOUT). */
  readonly brief: boolean;
}

/** Seconds in which as many may be opened as may be open. */
const REFRESH_S = 32;
/** More in a second would leave the kernel more to forget than it does (CONNCOUNT_GC_MAX_NODES with each change of its clock). */
const MAX_RATE = 500;
/** The most that a server may have interfaces for. */
const SET_SIZE = 65_535;

/** The rules, in place of those that are there; what was counted stays. */
export function renderBound(options: BoundOptions): string {
  const { table, interfacePrefix, egressInterface, maxConnections, brief } = options;
  const rate = Math.min(MAX_RATE, Math.ceil(maxConnections / REFRESH_S));
  return `table ip ${table} {
  set connections { type ifname; size ${SET_SIZE}; flags dynamic; }
  set rates { type ifname; size ${SET_SIZE}; flags dynamic; }
${brief ? '  ct timeout brief { protocol tcp; l3proto ip; policy = { time_wait: 10, close: 5 }; }' : ''}
  chain count { }
  chain full { }
  chain bound { type filter hook prerouting priority dstnat + 20; policy accept; }
}
flush table ip ${table}
table ip ${table} {
  chain full {
    meta l4proto tcp reject with tcp reset
    reject with icmp type admin-prohibited
  }
  chain count {
    ${brief ? 'meta l4proto tcp ct timeout set "brief"' : ''}
    add @rates { iifname limit rate over ${rate}/second burst ${2 * maxConnections} packets } drop
    add @connections { iifname ct count over ${maxConnections} } goto full
  }
  chain bound {
    iifname "${interfacePrefix}*" iifname != "${egressInterface}" ct status & confirmed == 0 jump count
  }
}
`;
}

/** Counts anew what comes from this device: somebody else has it now. */
export const renderCountAnew = (table: string, device: string): string =>
  ['connections', 'rates']
    .flatMap((set) => ['add', 'delete'].map((verb) => `${verb} element ip ${table} ${set} { "${device}" }`))
    .join('\n');

/** Whether closed connections can be forgotten early here. */
export async function canForgetEarly(): Promise<boolean> {
  const sample = { table: 'skerry_check', interfacePrefix: 'skcheck', egressInterface: 'skcheck1' };
  const input = renderBound({ ...sample, maxConnections: 1, brief: true });
  const { code } = await run(['nft', '--check', '-f', '-'], { input, okCodes: [1] });
  return code === 0;
}

/** Has the kernel forget the connections of these addresses. @param program that of `connections/` @throws when it cannot */
export async function forgetConnections(program: string, addresses: readonly string[]): Promise<void> {
  await run([program, 'forget', ...addresses], { timeoutMs: 60_000 });
}
