/** Who may come in to a sandbox from outside, through a tunnel say: by the address they come from. */
import { BlockList, isIP, isIPv4 } from 'node:net';
import { SkerryError } from '../errors/skerry-error.ts';

/** Networks that one sandbox may list. */
const MAX_NETWORKS = 1000;
const MAX_SHOWN = 64;
const BITS = { 4: 32, 6: 128 } as const;

/**
 * Checks a list of networks, IPv4 and IPv6, as `a.b.c.d/n` or `x::y/n`.
 * @throws SkerryError `invalid-argument`, in the words that programs look for
 */
export function checkInbound(cidrs: readonly string[]): void {
  if (cidrs.length > MAX_NETWORKS) {
    const words = `At most ${MAX_NETWORKS} networks can be let in, not ${cidrs.length}.`;
    throw new SkerryError('invalid-argument', words);
  }
  addAll(new BlockList(), cidrs);
}

/**
 * Whether somebody with this address may come in.
 * @param cidrs checked ones; absent or empty = everybody may
 * @param address IPv4 or IPv6, of IPv4 in IPv6 (`::ffff:a.b.c.d`) too; what is no address may not come in
 */
export function mayEnter(cidrs: readonly string[] | undefined, address: string): boolean {
  if (cidrs === undefined || cidrs.length === 0) return true;
  const plain = address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '');
  const family = isIP(plain);
  if (family === 0) return false;
  const list = new BlockList();
  addAll(list, cidrs);
  return list.check(plain, family === 4 ? 'ipv4' : 'ipv6');
}

function addAll(list: BlockList, cidrs: readonly string[]): void {
  for (const cidr of cidrs) {
    const [, address = '', length = ''] = /^([0-9a-fA-F:.]{2,45})\/(\d{1,3})$/.exec(cidr) ?? [];
    const family = isIP(address);
    const prefix = Number(length);
    if ((family !== 4 && family !== 6) || prefix > BITS[family]) {
      throw new SkerryError('invalid-argument', `Invalid CIDR: ${cidr.slice(0, MAX_SHOWN)}`);
    }
    list.addSubnet(address, prefix, isIPv4(address) ? 'ipv4' : 'ipv6');
  }
}
