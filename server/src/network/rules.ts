/** The rules of one server in the kernel: the tables of firewall, latch and bound, made together, changed together, and made anew when somebody took them away. */
import { run } from '../platform/command.ts';
import type { Logger } from '../telemetry/logger.ts';
import { parseCidr } from './cidr.ts';
import { type BoundOptions, canForgetEarly, renderBound, renderCountAnew } from './connection-bound.ts';
import {
  applyRules,
  type FirewallMember,
  hasMembers,
  removeTables,
  renderAdd,
  renderRemove,
  renderTable,
  rulesInForce,
} from './firewall.ts';
import { passHostFirewall } from './host-routing.ts';
import {
  dropUnjudged,
  hasLatch,
  notLetOut,
  renderClosed,
  renderLatch,
  renderNoLatch,
  renderOpen,
} from './latch.ts';
import { isDevice } from './namespaces.ts';
import { AddressPlan } from './subnet.ts';

export interface RulesOptions {
  readonly table: string;
  readonly interfacePrefix: string;
  readonly plan: AddressPlan;
  readonly egressInterface: string;
  readonly allowPrivate: readonly string[];
  readonly maxConnections: number;
  readonly logger: Logger;
  /** Everybody whose address is taken, as of now. */
  readonly members: () => Iterable<FirewallMember>;
}

/** Whether the kernel has what the rules take, without changing any: `refused` is why not, in nft's words; `latched` as of `Rules`. */
export async function checkRules(): Promise<{
  readonly refused: string | undefined;
  readonly latched: boolean;
}> {
  const sample = {
    table: 'skerry_check',
    interfacePrefix: 'skcheck',
    egressInterface: 'skcheck1',
    plan: new AddressPlan(parseCidr('10.0.0.0/24')),
  };
  const bound = renderBound({ ...sample, maxConnections: 1, brief: false });
  const input = `${renderTable({ ...sample, allowPrivate: [] }, [])}${bound}`;
  const refused = await run(['nft', '--check', '-f', '-'], { input }).then(
    () => undefined,
    (error: Error) => error.message,
  );
  return { refused, latched: await hasLatch(sample.table, sample.plan) };
}

/** Callers see to it that one call follows the other: each is computed from the members. */
export class Rules {
  readonly #options: RulesOptions;
  /** Whether sandboxes are closed while there are no rules, and can be given constant addresses: an old kernel may lack what that takes. */
  readonly latched: boolean;
  readonly #bound: BoundOptions;
  /** What the kernel says the rules of firewall and bound are, as of when they were made. */
  #made = '';
  /** Devices of the members that are in the tables; those of a namespace that is still being made are not. */
  readonly #added = new Set<string>();

  static async open(options: RulesOptions): Promise<Rules> {
    const latched = await hasLatch(options.table, options.plan);
    if (!latched) options.logger.warn({}, 'network.no-latch');
    return new Rules(options, latched, await canForgetEarly());
  }

  private constructor(options: RulesOptions, latched: boolean, brief: boolean) {
    this.#options = options;
    this.#bound = { ...options, brief };
    this.latched = latched;
  }

  /** All rules; sandboxes are let out when these are in force, and not before. */
  async build(): Promise<void> {
    const { table, interfacePrefix, plan, members, logger } = this.#options;
    const all = [...members()];
    await applyRules(`${renderTable(this.#options, all)}${renderBound(this.#bound)}`);
    this.#added.clear();
    for (const { hostInterface } of all) this.#added.add(hostInterface);
    this.#made = await rulesInForce(table);
    await passHostFirewall(interfacePrefix, plan.resolver);
    if (!this.latched) return;
    const anew = renderLatch(table);
    const there = all.filter(({ hostInterface }) => isDevice(hostInterface));
    await this.#dropUnjudged(there.map(({ hostInterface }) => hostInterface));
    try {
      await applyRules(`${anew}${renderOpen(table, plan, there)}\n`);
    } catch {
      // One of them went meanwhile: then each by itself.
      await applyRules(anew);
      for (const member of there) {
        const opened = applyRules(`${renderOpen(table, plan, [member])}\n`);
        const device = member.hostInterface;
        await opened.catch((err: unknown) => logger.warn({ device, err }, 'network.not-let-out'));
      }
    }
  }

  /** Adds members whose devices are there. */
  async add(members: readonly FirewallMember[]): Promise<void> {
    const { table, plan } = this.#options;
    const lines = members.map((member) => renderAdd(table, member));
    const devices = members.map(({ hostInterface }) => hostInterface);
    if (this.latched) {
      await this.#dropUnjudged(devices);
      lines.push(renderOpen(table, plan, members));
    }
    await this.#change(lines, () => {});
    for (const device of devices) this.#added.add(device);
  }

  /** @param remember makes `members` give the one instead of the other */
  async replace(before: FirewallMember, after: FirewallMember, remember: () => void): Promise<void> {
    const { table } = this.#options;
    await this.#change([renderRemove(table, before), renderAdd(table, after)], remember);
  }

  /** @param remember makes `members` give them no more */
  async drop(members: readonly FirewallMember[], remember: () => void): Promise<void> {
    const { table } = this.#options;
    const lines = members.flatMap((member) => [
      renderRemove(table, member),
      renderCountAnew(table, member.hostInterface),
      ...(this.latched ? [renderClosed(table, member.hostInterface)] : []),
    ]);
    await this.#change(lines, remember);
    for (const { hostInterface } of members) this.#added.delete(hostInterface);
  }

  /** Makes the rules anew where somebody took them away. */
  async mend(): Promise<void> {
    if (await this.#stand()) return;
    this.#options.logger.warn({}, 'network.table-rebuilt');
    await this.build();
  }

  async #stand(): Promise<boolean> {
    const { table, members } = this.#options;
    if ((await rulesInForce(table)) !== this.#made) return false;
    const now = [...members()].filter(({ hostInterface }) => this.#added.has(hostInterface));
    if (!(await hasMembers(table, now))) return false;
    if (!this.latched) return true;
    const without = await notLetOut(
      table,
      now.map(({ hostInterface }) => hostInterface),
    );
    return !without.some(isDevice);
  }

  async #dropUnjudged(devices: readonly string[]): Promise<void> {
    for (const device of devices) {
      const done = dropUnjudged(device);
      await done.catch((err: unknown) =>
        this.#options.logger.warn({ device, err }, 'network.no-drop-switch'),
      );
    }
  }

  async remove(): Promise<void> {
    const { table } = this.#options;
    await removeTables(table);
    if (this.latched) await applyRules(renderNoLatch(table));
  }

  /** Applies a change; when that fails because somebody flushed or edited our table, the whole table is made anew. */
  async #change(lines: readonly string[], remember: () => void): Promise<void> {
    try {
      await applyRules(`${lines.join('\n')}\n`);
      remember();
    } catch (error) {
      this.#options.logger.warn({ err: error }, 'network.table-rebuilt');
      remember();
      await this.build();
    }
  }
}
