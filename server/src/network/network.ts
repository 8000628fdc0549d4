/**
 * The sandboxes' network on this machine: a pool of prepared namespaces, the firewall and the resolver, behind one interface. Everything it makes is
 * derived from the server's instance name, so a later run finds what an earlier one left.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';
import { Cleanup, CleanupScope } from '../platform/cleanup.ts';
import { Limiter } from '../platform/limiter.ts';
import type { Logger } from '../telemetry/logger.ts';
import { parseCidr } from './cidr.ts';
import { DnsForwarder } from './dns-forwarder.ts';
import {
  applyRules,
  type FirewallMember,
  removeTable,
  renderAdd,
  renderRemove,
  renderTable,
  tableExists,
} from './firewall.ts';
import {
  addResolverAddress,
  enableForwarding,
  leaveHostFirewall,
  passHostFirewall,
  removeResolverAddress,
  restoreForwarding,
} from './host-routing.ts';
import { nameservers } from './nameservers.ts';
import { createNamespaces, removeNamespaces, SlotNames } from './namespaces.ts';
import { type NetworkPolicy, parseAllowlist } from './policy.ts';
import { ReadyPool } from './ready-pool.ts';
import { AddressPlan, chooseSubnet, uplinkMtu, usedNetworks } from './subnet.ts';

export interface NetworkOptions {
  /** 8 hexadecimal digits that tell this server's resources from another's. */
  readonly instance: string;
  readonly subnet: string;
  readonly nameservers: readonly string[];
  readonly allowPrivate: readonly string[];
  /** Where the chosen subnet is remembered until `remove`. */
  readonly stateFile: string;
  /** Holds the namespaces; should be a private mount (`platform/mounts.ts`). */
  readonly namespaceDir: string;
  /** Namespaces kept ready. */
  readonly poolSize: number;
  readonly logger: Logger;
  /** Told of what an earlier server left and nothing could remove. */
  readonly onLeft: (what: string, error: unknown) => void;
}

/** A namespace in use. Only `slot` and `policy` need to be remembered to take it over after a restart. */
export interface Lease {
  readonly slot: number;
  readonly namespacePath: string;
  readonly guestAddress: string;
  readonly resolver: string;
}

export interface LeaseRecord {
  readonly slot: number;
  readonly policy: NetworkPolicy;
}

const REFILL_DELAY_MS = 100;

export class Network {
  readonly #options: NetworkOptions;
  readonly #names: SlotNames;
  readonly #table: string;
  readonly #members = new Map<number, FirewallMember>();
  /** Rule changes one after the other: each is computed from `#members`. */
  readonly #rules = new Limiter(1);
  readonly #pool: ReadyPool;
  /** Slots that an earlier server left and that cannot be removed: never used again. */
  readonly #aside = new Set<number>();
  #plan: AddressPlan | undefined;
  #dns: DnsForwarder | undefined;
  #mtu = 1500;
  #lastSlot = 0;

  constructor(options: NetworkOptions) {
    this.#options = options;
    this.#names = new SlotNames(options.instance, options.namespaceDir);
    this.#table = `skerry_${options.instance}`;
    for (const cidr of options.allowPrivate) parseCidr(cidr);
    this.#pool = new ReadyPool({
      size: options.poolSize,
      delayMs: REFILL_DELAY_MS,
      claim: (count) => this.#claimSlots(count),
      make: (slots) => this.#make(slots),
      logger: options.logger,
    });
  }

  /** Prepares the machine; `inUse` are the leases of instances that may still live, everything else of ours is removed. */
  async open(inUse: readonly LeaseRecord[]): Promise<void> {
    await using undo = new CleanupScope(this.#options.logger);
    const plan = await this.#choosePlan(inUse.length > 0);
    this.#plan = plan;
    this.#mtu = await uplinkMtu();
    const resolvers = await nameservers(this.#options.nameservers);
    for (const { slot, policy } of inUse) this.#members.set(slot, this.#member(slot, policy));
    const strangers = [...(await this.#names.existing())].filter((slot) => !this.#members.has(slot));
    await Promise.all(strangers.map((slot) => this.#removeStranger(slot)));
    const label = this.#names.interfacePrefix;
    if (inUse.length === 0) {
      undo.add('resolver address', () => removeResolverAddress(label));
      undo.add('forwarding', () => restoreForwarding());
      undo.add('table', () => removeTable(this.#table));
    }
    await addResolverAddress(plan.resolver, label);
    await enableForwarding();
    await applyRules(this.#renderTable());
    await passHostFirewall(this.#names.interfacePrefix, plan.resolver);
    const upstreams = resolvers.map((address) => ({ address, port: 53 }));
    this.#dns = new DnsForwarder({
      address: plan.resolver,
      port: 53,
      upstreams,
      logger: this.#options.logger,
    });
    await this.#dns.open();
    undo.release();
    this.#lastSlot = Math.max(0, ...this.#members.keys());
    this.#pool.refill();
  }

  /** @throws SkerryError `resource-exhausted` when the subnet has no free address, `invalid-argument` for a bad allowlist. */
  async acquire(policy: NetworkPolicy): Promise<Lease> {
    if (policy.kind === 'allowlist') parseAllowlist(policy.cidrs);
    const slot = this.#pool.take() ?? (await this.#makeNow());
    await using undo = new CleanupScope(this.#options.logger);
    undo.add('network slot', () => this.release(slot));
    if (policy.kind !== 'open') await this.setPolicy(slot, policy);
    undo.release();
    return this.lease(slot);
  }

  /** The lease of a slot that is in use, for an instance that was taken over. */
  lease(slot: number): Lease {
    const plan = this.#openPlan();
    return {
      slot,
      namespacePath: this.#names.namespacePath(slot),
      guestAddress: plan.guestAddress(slot),
      resolver: plan.resolver,
    };
  }

  /** Applies to packets from now on, also of connections that exist. */
  async setPolicy(slot: number, policy: NetworkPolicy): Promise<void> {
    const after = this.#member(slot, policy);
    await this.#rules.run(async () => {
      const before = this.#members.get(slot);
      if (!before) throw new SkerryError('internal', `Network slot ${slot} is not in use.`);
      await this.#change(`${renderRemove(this.#table, before)}\n${renderAdd(this.#table, after)}\n`, () =>
        this.#members.set(slot, after),
      );
    });
  }

  /** Removes the namespace and its rules. Idempotent. */
  async release(slot: number): Promise<void> {
    await removeNamespaces([slot], this.#names);
    await this.#rules.run(async () => {
      const member = this.#members.get(slot);
      if (!member) return;
      await this.#change(`${renderRemove(this.#table, member)}\n`, () => this.#members.delete(slot));
    });
  }

  /** Stops the resolver and removes the namespaces that nobody uses; those in use stay. */
  async close(): Promise<void> {
    const unused = await this.#pool.close();
    await this.#dns?.close();
    for (const slot of unused) await this.release(slot);
  }

  /** Removes everything from the machine, as far as it can be. Call `close` first. @throws AggregateError naming what is left */
  async remove(): Promise<void> {
    const { resolver } = this.#openPlan();
    const removal = new Cleanup(); // runs from the last to the first
    removal.add('state file', () => rm(this.#options.stateFile, { force: true }));
    removal.add('forwarding', () => restoreForwarding());
    removal.add('resolver address', () => removeResolverAddress(this.#names.interfacePrefix));
    removal.add('host firewall', () => leaveHostFirewall(this.#names.interfacePrefix, resolver));
    removal.add('firewall table', async () => {
      if (await tableExists(this.#table)) await removeTable(this.#table);
    });
    removal.add('namespaces', async () => removeNamespaces([...(await this.#names.existing())], this.#names));
    await removal.run();
  }

  async #removeStranger(slot: number): Promise<void> {
    try {
      await removeNamespaces([slot], this.#names);
    } catch (error) {
      this.#aside.add(slot);
      this.#options.onLeft(`network slot ${slot}`, error);
    }
  }

  /** Applies a change; when that fails because somebody flushed or edited our table, the whole table is made anew. */
  async #change(script: string, remember: () => unknown): Promise<void> {
    try {
      await applyRules(script);
      remember();
    } catch (error) {
      this.#options.logger.warn({ err: error }, 'network.table-rebuilt');
      remember();
      await applyRules(this.#renderTable());
    }
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
      return new AddressPlan(parseCidr(last));
    }
    if (last !== undefined) await removeResolverAddress(this.#names.interfacePrefix);
    const plan = new AddressPlan(chooseSubnet(subnet, await usedNetworks(), instance));
    await mkdir(dirname(stateFile), { recursive: true });
    await writeFile(stateFile, plan.cidr);
    return plan;
  }

  #member(slot: number, policy: NetworkPolicy): FirewallMember {
    return {
      hostInterface: this.#names.hostInterface(slot),
      guestAddress: this.#openPlan().guestAddress(slot),
      policy,
    };
  }

  #renderTable(): string {
    return renderTable(
      {
        table: this.#table,
        interfacePrefix: this.#names.interfacePrefix,
        plan: this.#openPlan(),
        allowPrivate: this.#options.allowPrivate,
      },
      [...this.#members.values()],
    );
  }

  /** Numbers go round, so that an address rests before it is used again. The slots are taken at once, before any wait. */
  #claimSlots(count: number): number[] {
    const { slots } = this.#openPlan();
    const claimed: number[] = [];
    for (let tried = 0; tried < slots && claimed.length < count; tried++) {
      this.#lastSlot = (this.#lastSlot % slots) + 1;
      if (this.#members.has(this.#lastSlot) || this.#aside.has(this.#lastSlot)) continue;
      this.#members.set(this.#lastSlot, this.#member(this.#lastSlot, { kind: 'open' }));
      claimed.push(this.#lastSlot);
    }
    return claimed;
  }

  async #make(slots: readonly number[]): Promise<void> {
    const members = slots.map((slot) => this.#member(slot, { kind: 'open' }));
    await using undo = new CleanupScope(this.#options.logger);
    undo.add('network slots', async () => {
      await removeNamespaces(slots, this.#names);
      for (const slot of slots) this.#members.delete(slot); // not before they are gone: their names and addresses are taken
    });
    await createNamespaces(slots, this.#names, this.#openPlan(), this.#mtu);
    await this.#rules.run(() =>
      this.#change(`${members.map((member) => renderAdd(this.#table, member)).join('\n')}\n`, () => {}),
    );
    undo.release();
  }

  async #makeNow(): Promise<number> {
    const [slot] = this.#claimSlots(1);
    if (slot === undefined) {
      throw new SkerryError(
        'resource-exhausted',
        `All ${this.#openPlan().slots} addresses of the sandbox network ${this.#openPlan().cidr} are in use.`,
      );
    }
    await this.#make([slot]);
    return slot;
  }
}
