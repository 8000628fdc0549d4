/**
 * The sandboxes' network on this machine: a pool of prepared namespaces, the firewall and the resolver, behind one interface. Everything it makes is
 * derived from the server's instance name, so a later run finds what an earlier one left.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';
import { Batches } from '../platform/batches.ts';
import { Cleanup, CleanupScope } from '../platform/cleanup.ts';
import { firstIdOf, LAST_SLOT_WITH_IDS } from '../platform/id-ranges.ts';
import { Limiter } from '../platform/limiter.ts';
import { ReadyPool } from '../platform/ready-pool.ts';
import { repeat } from '../platform/repeat.ts';
import type { Logger } from '../telemetry/logger.ts';
import { parseCidr } from './cidr.ts';
import { forgetConnections } from './connection-bound.ts';
import { type Allowed, allowedBy } from './egress.ts';
import type { FirewallMember } from './firewall.ts';
import { type ProcessHome, resolverUser } from './host-process.ts';
import {
  addResolverAddress,
  enableForwarding,
  keepForwarding,
  leaveHostFirewall,
  removeResolverAddress,
  restoreForwarding,
} from './host-routing.ts';
import { type Addressing, type Inside, insideOf } from './inside.ts';
import { GATEWAY_ADDRESS } from './latch.ts';
import { nameservers } from './nameservers.ts';
import { createNamespaces, removeNamespaces, SlotNames, type Traffic, trafficOf } from './namespaces.ts';
import type { NetworkEvent } from './network-events.ts';
import { checkPolicy, isAudited, isPlainlyOpen, type NetworkPolicy } from './policy.ts';
import { ResolverNames } from './resolver-names.ts';
import { ResolverProcess } from './resolver-process.ts';
import { Rules } from './rules.ts';
import type { HeaderTrust, SecretHeaders } from './secret-headers.ts';
import { AddressPlan, claimSubnet, holdSubnet, uplinkMtu } from './subnet.ts';
import { TrafficAudit } from './traffic-audit.ts';
import { slotTaken, WayOut } from './way-out.ts';

export interface NetworkOptions {
  /** 8 hexadecimal digits that tell this server's resources from another's. */
  readonly instance: string;
  readonly subnet: string;
  readonly nameservers: readonly string[];
  readonly allowPrivate: readonly string[];
  /** Connections that one sandbox may have at once. */
  readonly maxConnections: number;
  /** What has the kernel forget connections (the program of `connections/`). */
  readonly connections: string;
  /** Where the chosen subnet is remembered until `remove`. */
  readonly stateFile: string;
  /** Holds the namespaces; should be a private mount (`platform/mounts.ts`). */
  readonly namespaceDir: string;
  /** How often it is looked whether somebody took our rules away. Until that is seen, sandboxes reach nothing (`latch.ts`). */
  readonly watchMs: number;
  /** The process that answers sandboxes' questions for addresses. */
  readonly resolver: ProcessHome;
  /** The process that lets sandboxes out by names; runs from when one needs it. */
  readonly egress: ProcessHome;
  /** What sandboxes need that have secret headers; undefined: none has. */
  readonly secretHeaders?:
    | (Pick<SecretHeaders, 'open'> & { readonly trust: () => Promise<HeaderTrust> })
    | undefined;
  /** What makes a user namespace for each (the program of `trees/`); undefined: there are none. */
  readonly userNamespaces?: string | undefined;
  /** Namespaces kept ready. */
  readonly poolSize: number;
  /** Whether somebody's start is under way: then none are made ahead. */
  readonly isStarting: () => boolean;
  readonly logger: Logger;
  /** Told of what an earlier server left and nothing could remove. */
  readonly onLeft: (what: string, error: unknown) => void;
}

/** A namespace in use. */
export interface Lease {
  readonly slot: number;
  readonly namespacePath: string;
  readonly addressing: Addressing;
  readonly inside: Inside;
  /** The user namespace that owns it. */
  readonly users: SlotUsers | undefined;
}

export interface SlotUsers {
  readonly path: string;
  /** What its id 0 is on the machine; 65,536 follow each other. */
  readonly firstId: number;
}

/** What needs to be remembered of a lease to take it over after a restart. */
export interface LeaseRecord {
  readonly slot: number;
  readonly policy: NetworkPolicy;
  readonly addressing: Addressing;
}

const REFILL_DELAY_MS = 100;
const DNS_PORT = 53;
/** The machine is asked to take them away one after the other, within the time of one command. */
const MAX_RELEASED_AT_ONCE = 64;

export class Network {
  readonly #options: NetworkOptions;
  readonly #names: SlotNames;
  readonly #members = new Map<number, FirewallMember>();
  /** Rule changes one after the other: each is computed from `#members`. */
  readonly #changes = new Limiter(1);
  readonly #releases = new Batches<number>(MAX_RELEASED_AT_ONCE, (slots) => this.#release(slots));
  readonly #pool: ReadyPool<number>;
  /** Slots that an earlier server left and that cannot be removed: never used again. */
  readonly #aside = new Set<number>();
  #plan: AddressPlan | undefined;
  /** Keeps other servers from choosing the same subnet. */
  #claim: Disposable | undefined;
  #rules: Rules | undefined;
  #resolver: ResolverProcess | undefined;
  #wayOut: WayOut | undefined;
  #traffic: TrafficAudit | undefined;
  readonly #resolved = new ResolverNames();
  /** What the proxy saw of sandboxes that it leads nowhere any more, by their addresses. */
  readonly #untaken = new Map<string, readonly NetworkEvent[]>();
  #mtu = 1500;
  #lastSlot = 0;
  #stopWatch: () => void = () => {};

  constructor(options: NetworkOptions) {
    this.#options = options;
    this.#names = new SlotNames(options.instance, options.namespaceDir);
    for (const cidr of options.allowPrivate) parseCidr(cidr);
    this.#pool = new ReadyPool({
      name: 'network',
      size: options.poolSize,
      delayMs: REFILL_DELAY_MS,
      isBusy: options.isStarting,
      claim: (count) => this.#claimSlots(count),
      make: (slots) => this.#make(slots),
      logger: options.logger,
    });
  }

  /** Prepares the machine; `inUse` are the leases of instances that may still live, everything else of ours is removed. */
  async open(inUse: readonly LeaseRecord[]): Promise<void> {
    await using undo = new CleanupScope(this.#options.logger);
    undo.add('claim of the subnet', () => this.#claim?.[Symbol.dispose]());
    const plan = await this.#choosePlan(inUse.length > 0);
    this.#plan = plan;
    this.#mtu = await uplinkMtu();
    const asked = await nameservers(this.#options.nameservers);
    const resolver = new ResolverProcess(
      {
        ...this.#options.resolver,
        user: resolverUser(this.#options.instance),
        relay: plan.slotAddress(plan.egressSlot),
        onRunning: (running) => this.#resolved.met(running),
        logger: this.#options.logger,
      },
      { address: plan.resolver, port: DNS_PORT },
      asked.map((address) => ({ address, port: DNS_PORT })),
    );
    this.#resolver = resolver;
    for (const { slot, policy, addressing } of inUse) {
      this.#members.set(slot, this.#member(slot, policy, addressing));
    }
    const label = this.#names.interfacePrefix;
    const table = `skerry_${this.#options.instance}`;
    const rules = await Rules.open({
      table,
      interfacePrefix: label,
      egressInterface: this.#names.hostInterface(plan.egressSlot),
      plan,
      allowPrivate: this.#options.allowPrivate,
      maxConnections: this.#options.maxConnections,
      logger: this.#options.logger,
      members: () => this.#members.values(),
    });
    const traffic = new TrafficAudit({
      ...{ table, plan, logger: this.#options.logger },
      namesOf: (sandbox, addresses) => this.#resolved.of(sandbox, addresses),
    });
    this.#traffic = traffic;
    const [wayOut, named] = await this.#prepareWayOut(plan, rules);
    const strangers = [...(await this.#names.existing())].filter((slot) => !this.#members.has(slot));
    await Promise.all(strangers.map((slot) => this.#removeStranger(slot)));
    if (strangers.includes(plan.egressSlot)) await wayOut.remove();
    this.#rules = rules;
    if (inUse.length === 0) {
      undo.add('resolver address', () => removeResolverAddress(label));
      undo.add('forwarding', () => restoreForwarding(this.#options.instance));
      undo.add('tables', () => rules.remove());
      undo.add('audit table', () => traffic.remove());
      undo.add('resolver', () => resolver.remove());
    }
    await addResolverAddress(plan.resolver, label);
    await enableForwarding(this.#options.instance);
    await rules.build();
    const audited = [...this.#members.values()].filter(({ policy }) => isAudited(policy));
    await traffic.open(audited);
    await resolver.open();
    await this.#resolved.keep(audited.map(({ address }) => address));
    if (named.size > 0) await wayOut.open(named, this.#members.has(plan.egressSlot));
    undo.release();
    this.#lastSlot = Math.max(0, ...this.#members.keys());
    this.#pool.refill();
    this.#stopWatch = repeat(
      this.#options.watchMs,
      [
        { name: 'network-rules', run: () => this.mendRules() },
        { name: 'network-forwarding', run: () => this.#mendForwarding() },
      ],
      this.#options.logger,
    );
  }

  /** @throws SkerryError `resource-exhausted` when the subnet has no free address, `invalid-argument` for a bad allowlist. */
  async acquire(policy: NetworkPolicy): Promise<Lease> {
    checkPolicy(policy);
    const slot = this.#pool.take() ?? (await this.#makeNow());
    await using undo = new CleanupScope(this.#options.logger);
    undo.add('network slot', () => this.release(slot));
    if (!isPlainlyOpen(policy)) await this.setPolicy(slot, policy);
    undo.release();
    return this.lease(slot);
  }

  /** The lease of a slot that is in use, for an instance that was taken over. */
  lease(slot: number): Lease {
    const { addressing } = this.#memberOf(slot);
    return {
      slot,
      namespacePath: this.#names.namespacePath(slot),
      addressing,
      inside: insideOf(addressing, this.#openPlan(), slot),
      users: this.#usersOf(slot),
    };
  }

  #usersOf(slot: number): SlotUsers | undefined {
    const path = this.#names.userNamespacePath(slot);
    // An earlier server may have made namespaces in another way.
    return existsSync(path) ? { path, firstId: firstIdOf(this.#options.instance, slot) } : undefined;
  }

  /** Applies to packets from now on, also of connections that exist. For one slot, one call follows the other. @throws SkerryError `unavailable` */
  async setPolicy(slot: number, policy: NetworkPolicy): Promise<void> {
    const member = this.#memberOf(slot);
    const { address } = member;
    const allowed = this.#allowedBy(policy);
    if (isAudited(policy)) await this.#count(member);
    if (allowed) {
      if (!this.#wayOut) throw slotTaken();
      await this.#wayOut.allow(address, allowed);
    }
    await this.#changes.run(async () => {
      const before = this.#memberOf(slot);
      const after = { ...before, policy };
      await this.#openRules().replace(before, after, () => this.#members.set(slot, after));
    });
    if (!allowed) await this.#forgetNamed(address);
    if (!isAudited(policy)) await this.#countNoMore(member);
  }

  /** The proxy leads it nowhere any more; what it saw of it until now is taken later. */
  async #forgetNamed(address: string): Promise<void> {
    const left = (await this.#wayOut?.lastEvents(address)) ?? [];
    if (left.length > 0) this.#untaken.set(address, [...(this.#untaken.get(address) ?? []), ...left]);
    await this.#wayOut?.forget(address);
  }

  #takeUntaken(address: string): readonly NetworkEvent[] {
    const left = this.#untaken.get(address) ?? [];
    this.#untaken.delete(address);
    return left;
  }

  async #count(member: FirewallMember): Promise<void> {
    await this.#traffic?.add(member);
    await this.#resolved.keep([member.address]);
  }

  async #countNoMore(member: FirewallMember): Promise<void> {
    await this.#traffic?.drop(member);
    void this.#resolved.forget(member.address);
  }

  /** What went through its device since that was made; undefined when it is gone. */
  traffic(slot: number): Promise<Traffic | undefined> {
    return trafficOf(this.#names.hostInterface(slot));
  }

  /** What an audited sandbox did on its network since it was last asked. */
  async events(slot: number): Promise<readonly NetworkEvent[]> {
    return this.#eventsOf(this.#memberOf(slot), false);
  }

  /** The same for the last time: its connections end. What cannot be asked tells nothing, so that nothing keeps a sandbox from ending. */
  async lastEvents(slot: number): Promise<readonly NetworkEvent[]> {
    const member = this.#members.get(slot);
    return member ? this.#eventsOf(member, true) : [];
  }

  async #eventsOf(member: FirewallMember, last: boolean): Promise<readonly NetworkEvent[]> {
    if (!isAudited(member.policy)) return [];
    const wayOut = this.#wayOut;
    const named = await (last ? wayOut?.lastEvents(member.address) : wayOut?.events(member.address));
    const counted = await this.#traffic?.events(member, last).catch((err: unknown) => {
      this.#options.logger.warn({ device: member.hostInterface, err }, 'network.audit-not-read');
      return [];
    });
    return [...this.#takeUntaken(member.address), ...(named ?? []), ...(counted ?? [])];
  }

  /** Removes the namespace and its rules. Idempotent. */
  release(slot: number): Promise<void> {
    return this.#releases.add(slot);
  }

  async #release(slots: readonly number[]): Promise<void> {
    await this.#takeAway(slots);
    const members = () =>
      slots.map((slot) => this.#members.get(slot)).filter((member) => member !== undefined);
    for (const counted of members()) await this.#countNoMore(counted); // before another has its device
    await this.#changes.run(async () => {
      const gone = members();
      if (gone.length === 0) return;
      await this.#openRules().drop(gone, () => {
        for (const slot of slots) this.#members.delete(slot);
      });
      for (const { address } of gone) {
        await this.#wayOut?.forget(address);
        this.#untaken.delete(address);
      }
    });
  }

  /** Removes the namespaces that nobody uses; those in use stay, and so does their resolver. */
  async close(): Promise<void> {
    this.#stopWatch();
    const unused = await this.#pool.close();
    await this.#wayOut?.close();
    await this.#resolver?.close();
    await Promise.all(unused.map((slot) => this.release(slot)));
    this.#claim?.[Symbol.dispose]();
  }

  /** Removes everything from the machine, as far as it can be. Call `close` first. @throws AggregateError naming what is left */
  async remove(): Promise<void> {
    const { resolver } = this.#openPlan();
    const removal = new Cleanup(); // runs from the last to the first
    removal.add('state file', () => rm(this.#options.stateFile, { force: true }));
    removal.add('forwarding', () => restoreForwarding(this.#options.instance));
    removal.add('resolver address', () => removeResolverAddress(this.#names.interfacePrefix));
    removal.add('host firewall', () => leaveHostFirewall(this.#names.interfacePrefix, resolver));
    removal.add('firewall tables', () => this.#openRules().remove());
    removal.add('audit table', () => this.#traffic?.remove());
    removal.add('resolver', () => this.#resolver?.remove());
    removal.add('egress proxy', () => this.#wayOut?.remove());
    removal.add('namespaces', async () => this.#takeAway([...(await this.#names.existing())]));
    await removal.run();
  }

  /** Looks whether somebody took our rules away, and makes them anew then. */
  async mendRules(): Promise<void> {
    await this.#changes.run(() => this.#openRules().mend());
    await this.#traffic?.mend();
  }

  async #mendForwarding(): Promise<void> {
    if (await keepForwarding()) this.#options.logger.warn({}, 'network.forwarding-was-off');
  }

  /** @returns it, and what each sandbox may reach by names that goes on */
  async #prepareWayOut(plan: AddressPlan, rules: Rules): Promise<[WayOut, ReadonlyMap<string, Allowed>]> {
    const { instance, egress: home, logger } = this.#options;
    const wayOut = new WayOut({
      ...{ instance, home, plan, logger },
      names: this.#names,
      mtu: this.#mtu,
      latched: rules.latched,
      headerTrust: () => this.#secretHeaders.trust(),
      admit: (member) =>
        this.#changes.run(async () => {
          this.#members.set(plan.egressSlot, member);
          await rules.add([member]);
        }),
    });
    const named = new Map<string, Allowed>();
    for (const { address, policy } of this.#members.values()) {
      const allowed = this.#stillAllowedBy(policy);
      if (allowed) named.set(address, allowed);
    }
    if (!this.#members.has(plan.egressSlot)) {
      this.#wayOut = wayOut;
      if (named.size > 0 && (await wayOut.stands())) this.#members.set(plan.egressSlot, wayOut.member);
    }
    return [wayOut, named];
  }

  get #secretHeaders(): NonNullable<NetworkOptions['secretHeaders']> {
    const { secretHeaders } = this.#options;
    if (!secretHeaders) throw new SkerryError('internal', 'A policy has headers that nobody can open.');
    return secretHeaders;
  }

  #allowedBy(policy: NetworkPolicy): Allowed | undefined {
    return allowedBy(policy, (sealed) => this.#secretHeaders.open(sealed));
  }

  /** Of a sandbox that goes on. Headers that cannot be opened, since the vault has another key, are not put in; nothing else changes for it. */
  #stillAllowedBy(policy: NetworkPolicy): Allowed | undefined {
    try {
      return this.#allowedBy(policy);
    } catch (error) {
      this.#options.logger.error({ err: error }, 'network.headers-unreadable');
      return allowedBy(policy, () => []);
    }
  }

  /** Namespaces, and then what the kernel knows of their connections: who has such an address next is not reached by what is for the one before. */
  async #takeAway(slots: readonly number[]): Promise<void> {
    await removeNamespaces(slots, this.#names);
    if (slots.length === 0) return;
    const addresses = slots.map((slot) => this.#openPlan().slotAddress(slot));
    const forgotten = forgetConnections(this.#options.connections, addresses);
    await forgotten.catch((err: unknown) =>
      this.#options.logger.warn({ slots, err }, 'network.connections-not-forgotten'),
    );
  }

  async #removeStranger(slot: number): Promise<void> {
    try {
      await this.#takeAway([slot]);
    } catch (error) {
      this.#aside.add(slot);
      this.#options.onLeft(`network slot ${slot}`, error);
    }
  }

  #openRules(): Rules {
    if (!this.#rules) throw new SkerryError('internal', 'The network was used before it was opened.');
    return this.#rules;
  }

  #openPlan(): AddressPlan {
    if (!this.#plan) throw new SkerryError('internal', 'The network was used before it was opened.');
    return this.#plan;
  }

  /** The subnet of the last run as long as that is what the configuration asks for, or sandboxes still use it. */
  async #choosePlan(inUse: boolean): Promise<AddressPlan> {
    const { subnet, stateFile, instance } = this.#options;
    const last = await readFile(stateFile, 'utf8').catch(() => undefined);
    if (last !== undefined && (inUse || subnet === 'auto' || subnet === last)) {
      const remembered = parseCidr(last);
      this.#claim = await holdSubnet(remembered);
      // Where another server took it meanwhile, and nothing is bound to it here, there are others.
      if (this.#claim || inUse || subnet !== 'auto') return new AddressPlan(remembered);
    }
    if (last !== undefined) await removeResolverAddress(this.#names.interfacePrefix);
    const claimed = await claimSubnet(subnet, instance);
    this.#claim = claimed.claim;
    const plan = new AddressPlan(claimed.subnet);
    await mkdir(dirname(stateFile), { recursive: true });
    await writeFile(stateFile, plan.cidr);
    return plan;
  }

  #member(slot: number, policy: NetworkPolicy, addressing: Addressing): FirewallMember {
    return {
      hostInterface: this.#names.hostInterface(slot),
      hostAddress: this.#openPlan().hostAddress(slot),
      address: this.#openPlan().slotAddress(slot),
      addressing,
      policy,
    };
  }

  #memberOf(slot: number): FirewallMember {
    const member = this.#members.get(slot);
    if (!member) throw new SkerryError('internal', `Network slot ${slot} is not in use.`);
    return member;
  }

  /** How new sandboxes get their addresses. */
  get #addressing(): Addressing {
    return this.#openRules().latched ? 'constant' : 'own';
  }

  get #slots(): number {
    const { slots } = this.#openPlan();
    return this.#options.userNamespaces === undefined ? slots : Math.min(slots, LAST_SLOT_WITH_IDS);
  }

  /** Numbers go round, so that an address rests before it is used again. The slots are taken at once, before any wait. */
  #claimSlots(count: number): number[] {
    const slots = this.#slots;
    const claimed: number[] = [];
    for (let tried = 0; tried < slots && claimed.length < count; tried++) {
      this.#lastSlot = (this.#lastSlot % slots) + 1;
      if (this.#members.has(this.#lastSlot) || this.#aside.has(this.#lastSlot)) continue;
      this.#members.set(this.#lastSlot, this.#member(this.#lastSlot, { kind: 'open' }, this.#addressing));
      claimed.push(this.#lastSlot);
    }
    return claimed;
  }

  async #make(slots: readonly number[]): Promise<void> {
    const addressing = this.#addressing;
    const members = slots.map((slot) => this.#member(slot, { kind: 'open' }, addressing));
    await using undo = new CleanupScope(this.#options.logger);
    undo.add('network slots', async () => {
      await removeNamespaces(slots, this.#names);
      for (const slot of slots) this.#members.delete(slot); // not before they are gone: their names and addresses are taken
    });
    const rules = this.#openRules();
    const gatewayAddress = rules.latched ? GATEWAY_ADDRESS : undefined;
    const { userNamespaces: program, instance } = this.#options;
    const users =
      program === undefined ? undefined : { program, firstIdOf: (slot: number) => firstIdOf(instance, slot) };
    const shape = { mtu: this.#mtu, addressing, gatewayAddress, users };
    await createNamespaces(slots, this.#names, this.#openPlan(), shape);
    await this.#changes.run(() => rules.add(members));
    undo.release();
  }

  async #makeNow(): Promise<number> {
    const [slot] = this.#claimSlots(1);
    if (slot === undefined) {
      throw new SkerryError(
        'resource-exhausted',
        `All ${this.#slots} addresses of the sandbox network ${this.#openPlan().cidr} are in use.`,
      );
    }
    await this.#make([slot]);
    return slot;
  }
}
