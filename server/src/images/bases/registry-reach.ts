/**
 * Which addresses the server fetches images from. A name in `FROM` is the caller's choice, and what answers there may send the server on to another
 * address: neither may lead into networks that sandboxes are kept out of, unless the operator says so.
 */
import { promises as dns, type LookupAddress } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { formatAddress, parseCidr } from '../../network/cidr.ts';
import { closedNetworks } from '../../network/policy.ts';

export interface ReachOptions {
  /** Registries that the operator's settings name, as in a reference: `host` or `host:port`. They may be anywhere. */
  readonly named: readonly string[];
  /** Host names, and IPv4 networks, that may be reached besides all public addresses. */
  readonly allowed: readonly string[];
  readonly lookup?: (host: string) => Promise<readonly LookupAddress[]>;
  /** What a refusal says of other addresses, and the setting that allows them; those of images by default. */
  readonly told?: { readonly what: string; readonly setting: string };
}

/** IPv6 networks that are somebody's own (RFC 6890, 4291), and those that stand for an IPv4 address (RFC 4291, 6052, 3056). */
const CLOSED_V6: readonly (readonly [network: string, prefix: number])[] = [
  ['::', 96], // unspecified, loopback, IPv4-compatible
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['2002::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
];

/** An address that may not be reached. */
export class AddressRefused extends Error {
  constructor(host: string, address: string, { what, setting }: NonNullable<ReachOptions['told']>) {
    const where = host === address ? host : `${host} (${address})`;
    super(`${where} is not a public address; ${what} others only where ${setting} allows it`);
    this.name = 'AddressRefused';
  }
}

export class RegistryReach {
  readonly #named: ReadonlySet<string>;
  readonly #allowedHosts: ReadonlySet<string>;
  readonly #allowed = new BlockList();
  readonly #closed = new BlockList();
  readonly #lookup: (host: string) => Promise<readonly LookupAddress[]>;
  readonly #told: NonNullable<ReachOptions['told']>;

  /** @throws SkerryError `invalid-argument` for an allowed network that is none */
  constructor({ named, allowed, lookup, told }: ReachOptions) {
    this.#named = new Set(named);
    const isNetwork = (entry: string) => /^[0-9./]+$/.test(entry);
    this.#allowedHosts = new Set(
      allowed.filter((entry) => !isNetwork(entry)).map((host) => host.toLowerCase()),
    );
    for (const { base, prefix } of allowed.filter(isNetwork).map(parseCidr)) {
      this.#allowed.addSubnet(formatAddress(base), prefix, 'ipv4');
    }
    for (const { base, prefix } of closedNetworks) {
      this.#closed.addSubnet(formatAddress(base), prefix, 'ipv4');
    }
    for (const [network, prefix] of CLOSED_V6) this.#closed.addSubnet(network, prefix, 'ipv6');
    this.#told = told ?? { what: 'images come from', setting: '--private-registries' };
    this.#lookup = lookup ?? ((host) => dns.lookup(host, { all: true }));
  }

  /** Whether the operator named this registry, so that nothing about it is checked. */
  trusts(registry: string): boolean {
    return this.#named.has(registry);
  }

  /**
   * The addresses of a host, all of which may be reached.
   * @throws AddressRefused when one may not be; what the look-up throws
   */
  async addresses(host: string): Promise<readonly LookupAddress[]> {
    const bare = host.replace(/^\[(.*)\]$/, '$1');
    const family = isIP(bare);
    const found = family === 0 ? await this.#lookup(bare) : [{ address: bare, family }];
    if (this.#allowedHosts.has(bare.toLowerCase())) return found;
    const closed = found.find((address) => this.#isClosed(address));
    if (closed) throw new AddressRefused(host, closed.address, this.#told);
    return found;
  }

  #isClosed({ address, family }: LookupAddress): boolean {
    // A BlockList takes an IPv4 address that is written as an IPv6 one for what it is.
    const type = family === 6 ? 'ipv6' : 'ipv4';
    return this.#closed.check(address, type) && !this.#allowed.check(address, type);
  }
}

/** For a request to go to one of these addresses, whatever a look-up of its own would say. */
export const lookupAmong = (addresses: readonly LookupAddress[]): LookupFunction =>
  ((_host, options, callback) => {
    const [one] = addresses;
    if (options.all || !one) callback(null, [...addresses]);
    else callback(null, one.address, one.family);
  }) satisfies LookupFunction;

/** The host of a reference's registry, without its port. */
export const hostOf = (registry: string): string =>
  registry === 'docker.io' ? 'registry-1.docker.io' : registry.replace(/:[0-9]+$/, '');
