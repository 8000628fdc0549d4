/**
 * Rules that translate between what a sandbox sees (`inside.ts`) and the address that the machine knows it by. They keep no state, so connections outlive
 * their loss: the kernel's own translation (nat) would need to tell sandboxes with one address apart before it knows the device.
 *
 * An ICMP error quotes the packet that it is about, whose addresses must be translated too or nobody knows it again, and its checksum covers them. nft
 * mends that checksum for one field alone, the MTU. So that field is where the quoted address changes, half by half: set to what was there (which mends
 * nothing), then to what shall be there (which mends); what it held is kept meanwhile in the header's identification, which errors do not need.
 */
import { parseCidr } from './cidr.ts';
import { CONSTANT } from './inside.ts';
import type { AddressPlan } from './subnet.ts';

/** Bits from the beginning of an ICMP error to the MTU, and to the addresses of the packet it quotes. */
const MTU = '@th,48,16';
const QUOTED_SOURCE = 160;
const QUOTED_DESTINATION = 192;

const numberOf = (address: string): number => parseCidr(address).base;
const hex = (value: number): string => `0x${value.toString(16)}`;

/** Changes the quoted address that begins at that bit into one that is written as these halves and as a whole. */
function renderMend(
  chain: string,
  bit: number,
  [high, low, whole]: readonly [string, string, string],
): string {
  return `  chain ${chain} {
    ip id set ${MTU}
    ${MTU} set @th,${bit},16
    icmp type destination-unreachable icmp mtu set ${high}
    ${MTU} set @th,${bit + 16},16
    icmp type destination-unreachable icmp mtu set ${low}
    @th,${bit},32 set ${whole}
    ${MTU} set ip id
  }`;
}

function constantParts(address: string): readonly [string, string, string] {
  const value = numberOf(address);
  return [hex(value >>> 16), hex(value & 0xffff), hex(value)];
}

/** The sandbox's address outside, where the packet's own source has been translated already. */
const OUTER_SOURCE = ['@nh,96,16', '@nh,112,16', '@nh,96,32'] as const;

/** The chain of a netdev table that `renderOutward` needs. */
export const renderMendOutward = (): string => renderMend('mend', QUOTED_DESTINATION, OUTER_SOURCE);

/** The two ends of a sandbox's cable, as the machine knows them. */
export interface Outer {
  readonly hostAddress: string;
  readonly address: string;
}

/** Rules at the ingress of a sandbox's device: what it sends then comes from its address outside. Whatever does not come from the inner one is dropped. */
export const renderOutward = (outer: Outer, plan: AddressPlan): readonly string[] => [
  `meta protocol ip ip saddr != ${CONSTANT.address} drop`,
  `meta protocol ip ip daddr ${CONSTANT.resolver} ip daddr set ${plan.resolver}`,
  `meta protocol ip ip daddr ${CONSTANT.gateway} ip daddr set ${outer.hostAddress}`,
  `meta protocol ip ip saddr set ${outer.address}`,
  `icmp type destination-unreachable @th,${QUOTED_DESTINATION},32 ${hex(numberOf(CONSTANT.address))} jump mend`,
];

/** Chains of an inet table, of which `inward` accepts what goes to a sandbox, as the sandbox is to see it. */
export function renderInward(plan: AddressPlan): string {
  const { base, prefix } = plan.subnet;
  const subnet = hex(base >>> (32 - prefix));
  return `${renderMend('mend_source', QUOTED_SOURCE, constantParts(CONSTANT.address))}
${renderMend('mend_resolver', QUOTED_DESTINATION, constantParts(CONSTANT.resolver))}
${renderMend('mend_gateway', QUOTED_DESTINATION, constantParts(CONSTANT.gateway))}
  chain mend_unreachable {
    @th,${QUOTED_SOURCE},${prefix} ${subnet} jump mend_source
    @th,${QUOTED_DESTINATION},32 ${hex(numberOf(plan.resolver))} jump mend_resolver
    @th,${QUOTED_DESTINATION},${prefix} ${subnet} jump mend_gateway
  }
  chain mend_exceeded {
    @th,0,8 set 3
    jump mend_source
    @th,0,8 set 11
  }
  chain inward {
    oifname @own accept
    icmp type destination-unreachable jump mend_unreachable
    icmp type time-exceeded jump mend_exceeded
    ip saddr ${plan.resolver} ip saddr set ${CONSTANT.resolver}
    ip saddr ${plan.cidr} ip saddr set ${CONSTANT.gateway}
    ip daddr set ${CONSTANT.address} accept
  }`;
}
