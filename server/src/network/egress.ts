/**
 * The way out of sandboxes that may reach domains: a proxy that asks for the addresses of allowed names itself (`egress/` in the clone). It is a process of its
 * own in a network namespace of its own, which is one more sandbox to the firewall: what is closed to all of them is closed to it. It hears here what each may
 * reach, goes on without this server, and lets nobody through of whom it has not heard.
 */
import type { Socket } from 'node:net';
import { SkerryError } from '../errors/skerry-error.ts';
import { Limiter } from '../platform/limiter.ts';
import { delay } from '../platform/wait.ts';
import type { Logger } from '../telemetry/logger.ts';
import { formatCidr } from './cidr.ts';
import { HostProcess, type ProcessHome } from './host-process.ts';
import { type NetworkEvent, readEvents } from './network-events.ts';
import { ORDER_MS, sendOrder } from './orders.ts';
import { domainsOf, isAudited, type NetworkPolicy, parseAllowlist } from './policy.ts';
import { type HeaderRule, type HeaderTrust, renderRules, renderTrust } from './secret-headers.ts';

/** What a sandbox may reach, and whether it is kept what it does. */
export interface Allowed {
  readonly domains: readonly string[];
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

export interface EgressOptions extends ProcessHome {
  /** Path of the network namespace it runs in, which exists when it is opened. */
  readonly namespacePath: string;
  /** Its address there, where sandboxes' packets are led to. */
  readonly address: string;
  /** Where the machine's resolver answers. */
  readonly resolver: string;
  /** Who it runs as; undefined leaves it who this process is. */
  readonly user: number | undefined;
  /** Asked for when the first sandbox needs it. */
  readonly headerTrust: () => Promise<HeaderTrust>;
  readonly logger: Logger;
}

const DNS_PORT = 53;

export class Egress {
  readonly #process: HostProcess;
  /** Patterns by the sandbox's address: what is said to a process that starts anew. */
  readonly #allowed = new Map<string, Allowed>();
  /** One order after the other: each is answered by a byte that says no more than that. */
  readonly #orders = new Limiter(1);
  readonly #headerTrust: () => Promise<HeaderTrust>;
  #link: Socket | undefined;
  /** The link over which it was told whom to trust. */
  #trusting: Socket | undefined;

  constructor(options: EgressOptions) {
    const { namespacePath, address, resolver, headerTrust, ...rest } = options;
    this.#headerTrust = headerTrust;
    this.#process = new HostProcess({
      ...rest,
      greeting: 'skerry-egress',
      title: 'egress proxy',
      event: 'egress',
      enter: ['nsenter', `--net=${namespacePath}`, '--'],
      arguments: ['--listen', address, '--resolver', `${resolver}:${DNS_PORT}`],
      onRunning: ({ link }) => this.#tellAll(link),
    });
  }

  /** Has it run, with what these sandboxes may reach and nothing else. @throws SkerryError `unavailable` */
  async open(allowed: ReadonlyMap<string, Allowed>): Promise<void> {
    for (const [address, what] of allowed) this.#allowed.set(address, what);
    await this.#process.open();
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
    return this.#process.close();
  }

  /** Ends it. Call `close` first. */
  remove(): Promise<void> {
    return this.#process.remove();
  }

  async #tellAll(link: Socket): Promise<void> {
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

  async #tell(link: Socket | undefined, address: string, allowed: Allowed): Promise<void> {
    if (allowed.headers?.length && link && this.#trusting !== link) {
      await send(link, 'C', renderTrust(await this.#headerTrust()));
      this.#trusting = link;
    }
    await send(link, ...orderFor(address, allowed));
  }
}

const unavailable = (): SkerryError =>
  new SkerryError(
    'unavailable',
    "The sandboxes' egress proxy does not answer: domains cannot be allowed now. The server's log says more.",
  );

const orderFor = (
  address: string,
  { domains, ranges = [], audited, headers = [] }: Allowed,
): [string, readonly string[]] => [
  audited ? 'A' : 'S',
  [address, ...domains, ...parseAllowlist(ranges).map(formatCidr), ...renderRules(headers)],
];

const send = (link: Socket | undefined, letter: string, words: readonly string[]): Promise<string> =>
  sendOrder(link, letter, words, unavailable);
