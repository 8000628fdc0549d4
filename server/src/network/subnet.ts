/**
 * The address plan: one network for all sandboxes of a server, as the machine knows them (what they see is in `inside.ts`). Its first address is the
 * resolver's; then each slot has two addresses (RFC 3021 point-to-point), the host's end and the sandbox's. The last slot is the egress proxy's.
 */
import { readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { SkerryError } from '../errors/skerry-error.ts';
import { holdName } from '../platform/held-name.ts';
import { type Cidr, formatAddress, formatCidr, overlaps, parseCidr, sizeOf } from './cidr.ts';

/** Where `auto` looks, in this order: rarely used corners of the private ranges first. */
const candidates: readonly Cidr[] = [
  ...Array.from({ length: 64 }, (_, i) => parseCidr(`10.${213 + (i >> 4)}.${(i & 15) * 16}.0/20`)),
  ...Array.from({ length: 16 }, (_, i) => parseCidr(`172.29.${i * 16}.0/20`)),
];

const smallestPrefix = 24;

interface Route {
  readonly device: string;
  readonly destination: Cidr;
}

/** The kernel's main IPv4 routing table. */
async function routes(): Promise<Route[]> {
  const text = await readFile('/proc/net/route', 'utf8');
  return text
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split('\t'))
    .map(([device = '', destination = '', , , , , , mask = '']) => ({
      device,
      destination: { base: fromKernel(destination), prefix: prefixOf(fromKernel(mask)) },
    }));
}

/** The IPv4 networks the host has routes to (the default route aside) or addresses in. */
export async function usedNetworks(): Promise<Cidr[]> {
  const routed = (await routes()).map((route) => route.destination).filter((cidr) => cidr.prefix > 0);
  const own = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter((address) => address.family === 'IPv4')
    .map((address) => parseCidr(address.cidr ?? address.address));
  return [...routed, ...own];
}

/** MTU of the device that the default route uses: a sandbox's must not be larger, since path discovery often fails. 1500 without a default route. */
export async function uplinkMtu(): Promise<number> {
  const uplink = (await routes()).find((route) => route.destination.prefix === 0);
  if (!uplink) return 1500;
  return Number(await readFile(`/sys/class/net/${uplink.device}/mtu`, 'utf8'));
}

/** /proc/net/route prints addresses as a native (little-endian) word in hex. */
const fromKernel = (hex: string): number => Buffer.from(hex, 'hex').readUInt32LE(0);
const prefixOf = (mask: number): number => Math.clz32(~mask);

/**
 * The network named in the configuration, or for `auto` a /20 that overlaps nothing in `taken`. The search starts at a place derived from
 * `instance` (hexadecimal), so that two servers starting at once rarely try the same (`claimSubnet`).
 * @throws SkerryError `invalid-argument` for a setting that is not a network of at least a /24, `resource-exhausted` when none is free.
 */
export function chooseSubnet(setting: string, taken: readonly Cidr[], instance: string): Cidr {
  if (setting !== 'auto') {
    const cidr = parseCidr(setting);
    if (cidr.prefix > smallestPrefix) {
      throw new SkerryError(
        'invalid-argument',
        `The subnet ${setting} is too small: at least a /24 is needed.`,
      );
    }
    return cidr;
  }
  const start = Number.parseInt(instance, 16) % candidates.length;
  const order = [...candidates.slice(start), ...candidates.slice(0, start)];
  const free = order.find((candidate) => !taken.some((network) => overlaps(network, candidate)));
  if (free) return free;
  throw new SkerryError(
    'resource-exhausted',
    'No free IPv4 network for sandboxes was found on this machine: name one with --subnet.',
  );
}

/** A network of `chooseSubnet` that no other server chooses while it is held: one that starts at the same time sees no address in it yet. */
export interface ClaimedSubnet {
  readonly subnet: Cidr;
  readonly claim: Disposable | undefined;
}

/** @throws as `chooseSubnet` */
export async function claimSubnet(setting: string, instance: string): Promise<ClaimedSubnet> {
  const refused: Cidr[] = [];
  for (;;) {
    const subnet = chooseSubnet(setting, [...(await usedNetworks()), ...refused], instance);
    const claim = await holdSubnet(subnet);
    if (setting !== 'auto') return { subnet, claim };
    // Who had the name may have given it back for the address, which is seen by now.
    if (claim && !(await usedNetworks()).some((network) => overlaps(network, subnet)))
      return { subnet, claim };
    claim?.[Symbol.dispose]();
    refused.push(subnet);
  }
}

/** @returns undefined when another server has it */
export const holdSubnet = (subnet: Cidr): Promise<Disposable | undefined> =>
  holdName(`skerry subnet ${formatCidr(subnet)}`);

/** How the addresses of a subnet are used. */
export class AddressPlan {
  readonly subnet: Cidr;

  constructor(subnet: Cidr) {
    this.subnet = subnet;
  }

  get cidr(): string {
    return formatCidr(this.subnet);
  }

  /** Where the resolver listens. */
  get resolver(): string {
    return formatAddress(this.subnet.base + 1);
  }

  /** Slots are numbered from 1 to this. */
  get slots(): number {
    return this.egressSlot - 1;
  }

  /** Of the proxy that leads sandboxes out by names (`egress.ts`): no sandbox has it. */
  get egressSlot(): number {
    return sizeOf(this.subnet) / 2 - 1;
  }

  hostAddress(slot: number): string {
    return formatAddress(this.subnet.base + 2 * slot);
  }

  slotAddress(slot: number): string {
    return formatAddress(this.subnet.base + 2 * slot + 1);
  }
}
