/** The slot of the egress proxy: its namespace, what the firewall knows of it, and the process in it. Nothing of it exists before a sandbox needs it. */
import { SkerryError } from '../errors/skerry-error.ts';
import { CleanupScope } from '../platform/cleanup.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type Allowed, Egress } from './egress.ts';
import { egressProcess } from './egress-process.ts';
import type { FirewallMember } from './firewall.ts';
import { egressUser, type ProcessHome } from './host-process.ts';
import { GATEWAY_ADDRESS } from './latch.ts';
import { createNamespaces, isDevice, removeNamespaces, type SlotNames } from './namespaces.ts';
import type { NetworkEvent } from './network-events.ts';
import type { HeaderTrust } from './secret-headers.ts';
import type { AddressPlan } from './subnet.ts';

export interface WayOutOptions {
  readonly instance: string;
  readonly home: ProcessHome;
  readonly names: SlotNames;
  readonly plan: AddressPlan;
  readonly mtu: number;
  readonly latched: boolean;
  readonly headerTrust: () => Promise<HeaderTrust>;
  /** Makes the proxy a member of the firewall. */
  readonly admit: (member: FirewallMember) => Promise<void>;
  readonly logger: Logger;
}

export class WayOut {
  readonly #options: WayOutOptions;
  readonly #egress: Egress;
  /** Set from when somebody needed it. */
  #opening: Promise<void> | undefined;
  readonly slot: number;

  constructor(options: WayOutOptions) {
    this.#options = options;
    const { instance, home, names, plan, headerTrust, logger } = options;
    this.slot = plan.egressSlot;
    this.#egress = new Egress({
      headerTrust,
      host: egressProcess({
        ...home,
        namespacePath: names.namespacePath(this.slot),
        address: plan.slotAddress(this.slot),
        resolver: plan.resolver,
        user: egressUser(instance),
        logger,
      }),
    });
  }

  /** As the firewall knows it: one more sandbox, which sees its own address, since it must tell the others by theirs. */
  get member(): FirewallMember {
    const { names, plan } = this.#options;
    return {
      hostInterface: names.hostInterface(this.slot),
      hostAddress: plan.hostAddress(this.slot),
      address: plan.slotAddress(this.slot),
      addressing: 'own',
      policy: { kind: 'open' },
    };
  }

  /** Whether an earlier server left it as it is needed. */
  async stands(): Promise<boolean> {
    return (await this.#options.names.existing()).has(this.slot) && isDevice(this.member.hostInterface);
  }

  /** Has it there for these sandboxes, each with the domains it may reach. @param admitted whether the firewall has it already */
  async open(allowed: ReadonlyMap<string, Allowed>, admitted: boolean): Promise<void> {
    this.#opening ??= this.#open(allowed, admitted);
    try {
      await this.#opening;
    } catch (error) {
      this.#opening = undefined;
      throw error;
    }
  }

  /** Lets a sandbox reach domains; before the firewall leads it here. @throws SkerryError `unavailable` */
  async allow(address: string, allowed: Allowed): Promise<void> {
    await this.open(new Map(), false);
    await this.#egress.allow(address, allowed);
  }

  /** Lets it reach none; after the firewall leads it here no more. */
  async forget(address: string): Promise<void> {
    if (this.#opening) await this.#egress.forget(address);
  }

  /** @see Egress.events */
  async events(address: string): Promise<readonly NetworkEvent[]> {
    return this.#opening ? this.#egress.events(address) : [];
  }

  /** @see Egress.lastEvents */
  async lastEvents(address: string): Promise<readonly NetworkEvent[]> {
    return this.#opening ? this.#egress.lastEvents(address) : [];
  }

  close(): Promise<void> {
    return this.#egress.close();
  }

  /** Ends the process; its namespace goes with all others. */
  remove(): Promise<void> {
    return this.#egress.remove();
  }

  async #open(allowed: ReadonlyMap<string, Allowed>, admitted: boolean): Promise<void> {
    const { names, plan, mtu, latched, admit, logger } = this.#options;
    await using undo = new CleanupScope(logger);
    if (!admitted) {
      await this.#egress.remove(); // a process in a namespace that is gone would be in the way
      undo.add('egress namespace', () => removeNamespaces([this.slot], names));
      await createNamespaces([this.slot], names, plan, {
        mtu,
        addressing: 'own',
        gatewayAddress: latched ? GATEWAY_ADDRESS : undefined,
      });
      await admit(this.member);
    }
    await this.#egress.open(allowed);
    undo.release();
  }
}

/** While a sandbox of an earlier version has its slot. */
export const slotTaken = (): SkerryError =>
  new SkerryError(
    'unavailable',
    'A sandbox of an earlier version has the address of the egress proxy: domains can be allowed when it has ended and the server was restarted.',
  );
