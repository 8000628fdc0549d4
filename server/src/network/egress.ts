/**
 * The way out of sandboxes that may reach domains: a proxy that asks for the addresses of allowed names itself (`egress/` in the clone). It is a process of its
 * own in a network namespace of its own, which is one more sandbox to the firewall (`egress-process.ts`), or a Pod of its own in a cluster: what is closed to
 * all sandboxes is closed to it. It hears here what each may reach, goes on without this server, and lets nobody through of whom it has not heard.
 */
import type { Duplex } from 'node:stream';
import { SkerryError } from '../errors/skerry-error.ts';
import { Limiter } from '../platform/limiter.ts';
import { delay } from '../platform/wait.ts';
import { formatCidr } from './cidr.ts';
import { type NetworkEvent, readEvents } from './network-events.ts';
import { ORDER_MS, sendOrder } from './orders.ts';
import { domainsOf, isAudited, type NetworkPolicy, parseAllowlist } from './policy.ts';
import { type HeaderRule, type HeaderTrust, renderRules, renderTrust } from './secret-headers.ts';

/** What a sandbox may reach, and whether it is kept what it does. */
export interface Allowed {
  readonly domains: readonly string[];
  /** Whether it is told the addresses of other names as well, which it does not reach through the proxy. */
  readonly knowsAllNames?: boolean | undefined;
  /** Addresses that it may reach by TLS, whatever name leads there. */
  readonly ranges?: readonly string[] | undefined;
  readonly audited: boolean;
  /** Undefined for a sandbox that can have none. */
  readonly headers?: readonly HeaderRule[] | undefined;
}

/**
 * What of a policy the proxy lets through; undefined where addresses alone decide.
 * @param open opens the headers that a policy has sealed
 */
export function allowedBy(
  policy: NetworkPolicy,
  open: (sealed: string) => readonly HeaderRule[],
): Allowed | undefined {
  const headers = policy.headers === undefined ? undefined : open(policy.headers);
  const domains = policy.kind === 'open' && headers ? ['*'] : domainsOf(policy);
  const ranges = headers && policy.kind === 'allowlist' ? policy.cidrs : [];
  if (domains.length + ranges.length === 0) return undefined;
  return { domains, ranges, audited: isAudited(policy), headers };
}

/** What runs the proxy. */
export interface ProxyHost {
  /** Has it run, and keeps it running. @throws SkerryError `unavailable` */
  open(): Promise<void>;
  /** Lets go of it: it goes on. */
  close(): Promise<void>;
  /** Ends it. Call `close` first. */
  remove(): Promise<void>;
}

export interface RunningProxy {
  /** Orders go over it. Open exactly as long as this proxy lives and was not replaced. */
  readonly link: Duplex;
}

export interface EgressOptions {
  /** @param onRunning to be given each proxy that runs, from when it is met; what it throws ends the start */
  readonly host: (onRunning: (running: RunningProxy) => Promise<void>) => ProxyHost;
  /** Asked for when the first sandbox needs it. */
  readonly headerTrust: () => Promise<HeaderTrust>;
}

export class Egress {
  readonly #host: ProxyHost;
  /** Patterns by the sandbox's address: what is said to a process that starts anew. */
  readonly #allowed = new Map<string, Allowed>();
  /** One order after the other: each is answered by a byte that says no more than that. */
  readonly #orders = new Limiter(1);
  readonly #headerTrust: () => Promise<HeaderTrust>;
  #link: Duplex | undefined;
  /** The link over which it was told whom to trust. */
  #trusting: Duplex | undefined;

  constructor({ host, headerTrust }: EgressOptions) {
    this.#headerTrust = headerTrust;
    this.#host = host(({ link }) => this.#tellAll(link));
  }

  /** Has it run, with what these sandboxes may reach and nothing else. @throws SkerryError `unavailable` */
  async open(allowed: ReadonlyMap<string, Allowed>): Promise<void> {
    for (const [address, what] of allowed) this.#allowed.set(address, what);
    await this.#host.open();
  }

  /** Lets a sandbox reach these domains and no others from now on; connections to others end. @throws SkerryError `unavailable` */
  async allow(address: string, allowed: Allowed): Promise<void> {
    const before = this.#allowed.get(address);
    this.#allowed.set(address, allowed);
    try {
      await this.#order(address, allowed);
    } catch (error) {
      if (before) this.#allowed.set(address, before);
      else this.#allowed.delete(address);
      throw error;
    }
  }

  /** Lets it reach nothing. Fine where it could not. A process that starts anew hears of those that are left alone. */
  async forget(address: string): Promise<void> {
    if (!this.#allowed.delete(address)) return;
    await this.#orders.run(() => send(this.#link, 'F', [address])).catch(() => {});
  }

  /** What an audited sandbox did since it was last asked; nothing while the process cannot be asked. */
  async events(address: string): Promise<readonly NetworkEvent[]> {
    if (!this.#allowed.get(address)?.audited || !this.#link) return [];
    const text = await this.#orders.run(() => send(this.#link, 'E', [address])).catch(() => '');
    return readEvents(text);
  }

  /** Ends the connections of an audited sandbox, and tells what it did to the end. */
  async lastEvents(address: string): Promise<readonly NetworkEvent[]> {
    if (!this.#allowed.get(address)?.audited) return [];
    await this.allow(address, { domains: [], audited: true }).catch(() => {});
    return this.events(address);
  }

  /** Lets go of the process, which goes on. */
  close(): Promise<void> {
    return this.#host.close();
  }

  /** Ends it. Call `close` first. */
  remove(): Promise<void> {
    return this.#host.remove();
  }

  async #tellAll(link: Duplex): Promise<void> {
    await this.#orders.run(async () => {
      for (const [address, allowed] of this.#allowed) await this.#tell(link, address, allowed);
      await send(link, 'K', [...this.#allowed.keys()]);
      this.#link = link;
    });
    link.once('close', () => {
      if (this.#link === link) this.#link = undefined;
    });
  }

  /** Waits for a process that is being started anew. */
  async #order(address: string, allowed: Allowed): Promise<void> {
    const until = performance.now() + ORDER_MS;
    while (!this.#link || this.#link.destroyed) {
      if (performance.now() > until) throw unavailable();
      await delay(20);
    }
    await this.#orders.run(() => this.#tell(this.#link, address, allowed));
  }

  async #tell(link: Duplex | undefined, address: string, allowed: Allowed): Promise<void> {
    if (allowed.headers?.length && link && this.#trusting !== link) {
      await send(link, 'C', renderTrust(await this.#headerTrust()));
      this.#trusting = link;
    }
    await send(link, ...orderFor(address, allowed));
  }
}

/** A word among patterns (`egress/src/policies.rs`). */
const ALL_NAMES = '?';

const unavailable = (): SkerryError =>
  new SkerryError(
    'unavailable',
    "The sandboxes' egress proxy does not answer: domains cannot be allowed now. The server's log says more.",
  );

const orderFor = (
  address: string,
  { domains, knowsAllNames, ranges = [], audited, headers = [] }: Allowed,
): [string, readonly string[]] => [
  audited ? 'A' : 'S',
  [
    address,
    ...(knowsAllNames ? [ALL_NAMES] : []),
    ...domains,
    ...parseAllowlist(ranges).map(formatCidr),
    ...renderRules(headers),
  ],
];

const send = (link: Duplex | undefined, letter: string, words: readonly string[]): Promise<string> =>
  sendOrder(link, letter, words, unavailable);
