/**
 * Which addresses the server fetches images from. A name in `FROM` is the caller's choice, and what answers there may send the server on to another
 * address: neither may lead into networks that sandboxes are kept out of, unless the operator says so.
 */
import { promises as dns, type LookupAddress } from 'node:dns';
import { BlockList, isIP } from 'node:net';
import { formatAddress, parseCidr } from '../../network/cidr.ts';
import { closedNetworks } from '../../network/policy.ts';

export interface ReachOptions {
  /** Registries that the operator's settings name, as in a reference: `host` or `host:port`. They may be anywhere. */
  readonly named: readonly string[];
  /** Host names, and IPv4 networks, that may be reached besides all public addresses. */
  readonly allowed: readonly string[];
  readonly lookup?: (host: string) => Promise<readonly LookupAddress[]>;
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

/** An address that images may not come from. */
export class AddressRefused extends Error {
  constructor(host: string, address: string) {
    const where = host === address ? host : `${host} (${address})`;
    super(
      `${where} is not a public address; images come from others only where --private-registries allows it`,
    );
    this.name = 'AddressRefused';
  }
}

export class RegistryReach {
  readonly #named: ReadonlySet<string>;
  readonly #allowedHosts: ReadonlySet<string>;
  readonly #allowed = new BlockList();
  readonly #closed = new BlockList();
  readonly #lookup: (host: string) => Promise<readonly LookupAddress[]>;

  /** @throws SkerryError `invalid-argument` for an allowed network that is none */
  constructor({ named, allowed, lookup }: ReachOptions) {
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
    if (closed) throw new AddressRefused(host, closed.address);
    return found;
  }

  #isClosed({ address, family }: LookupAddress): boolean {
    // A BlockList takes an IPv4 address that is written as an IPv6 one for what it is.
    const type = family === 6 ? 'ipv6' : 'ipv4';
    return this.#closed.check(address, type) && !this.#allowed.check(address, type);
  }
}

/** The host of a reference's registry, without its port. */
export const hostOf = (registry: string): string =>
  registry === 'docker.io' ? 'registry-1.docker.io' : registry.replace(/:[0-9]+$/, '');
