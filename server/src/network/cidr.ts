/** IPv4 networks in CIDR notation: parsing (strict, since the values reach firewall rules) and the arithmetic the sandbox network needs. */
import { isIPv4 } from 'node:net';
import { SkerryError } from '../errors/skerry-error.ts';

export interface Cidr {
  /** The network's first address as an unsigned 32-bit number. */
  readonly base: number;
  readonly prefix: number;
}

/** @throws SkerryError `invalid-argument` when `text` is not a dotted quad. */
export function parseAddress(text: string): number {
  if (!isIPv4(text)) throw new SkerryError('invalid-argument', `"${text}" is not an IPv4 address.`);
  return text.split('.').reduce((value, octet) => value * 256 + Number(octet), 0);
}

export const formatAddress = (value: number): string =>
  [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255].join('.');

/**
 * `a.b.c.d/n`, or a bare address as a /32; host bits are cleared.
 * @throws SkerryError `invalid-argument` for anything else.
 */
export function parseCidr(text: string): Cidr {
  const match = /^([0-9.]{7,15})(?:\/([0-9]{1,2}))?$/.exec(text);
  const prefix = Number(match?.[2] ?? 32);
  if (!match?.[1] || prefix > 32) {
    throw new SkerryError('invalid-argument', `"${text}" is not an IPv4 network like 203.0.113.0/24.`);
  }
  const mask = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0;
  return { base: (parseAddress(match[1]) & mask) >>> 0, prefix };
}

export const formatCidr = (cidr: Cidr): string => `${formatAddress(cidr.base)}/${cidr.prefix}`;

/** Addresses in the network. */
export const sizeOf = (cidr: Cidr): number => 2 ** (32 - cidr.prefix);

export const overlaps = (a: Cidr, b: Cidr): boolean =>
  a.base < b.base + sizeOf(b) && b.base < a.base + sizeOf(a);

/**
 * The networks of `cidrs` without those that lie within another one of them: nftables refuses overlapping elements in a set of
 * intervals.
 */
export function withoutOverlaps(cidrs: readonly Cidr[]): Cidr[] {
  const widestFirst = [...cidrs].sort((a, b) => a.prefix - b.prefix);
  const kept: Cidr[] = [];
  for (const cidr of widestFirst) if (!kept.some((other) => overlaps(other, cidr))) kept.push(cidr);
  return kept;
}
