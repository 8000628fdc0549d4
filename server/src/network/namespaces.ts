/**
 * Network namespaces with one veth pair each: making them, taking them away, finding those that are there. A namespace is used once: what a sandbox
 * left in it (sockets, connection tracking, gVisor's taking over of the addresses) must not reach the next one.
 */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';
import { run } from '../platform/command.ts';
import type { AddressPlan } from './subnet.ts';

const netnsDir = '/run/netns';

/** Names of everything a slot owns, derived from the server's instance name and the slot's number alone. */
export class SlotNames {
  readonly interfacePrefix: string;
  readonly #namespacePrefix: string;

  /** @param instance 8 hexadecimal digits; with the prefix and 5 digits of a slot that is the 15 characters an interface name may have. */
  constructor(instance: string) {
    this.interfacePrefix = `sk${instance}`;
    this.#namespacePrefix = `skerry-${instance}-`;
  }

  hostInterface(slot: number): string {
    return `${this.interfacePrefix}${slot.toString(36)}`;
  }

  namespace(slot: number): string {
    return `${this.#namespacePrefix}${slot}`;
  }

  namespacePath(slot: number): string {
    return join(netnsDir, this.namespace(slot));
  }

  /** The slots of which a namespace or a host interface exists. */
  async existing(): Promise<Set<number>> {
    const slots = new Set<number>();
    for (const name of await readdir(netnsDir).catch(() => [])) {
      if (name.startsWith(this.#namespacePrefix)) slots.add(Number(name.slice(this.#namespacePrefix.length)));
    }
    for (const name of await readdir('/sys/class/net')) {
      if (name.startsWith(this.interfacePrefix)) {
        slots.add(Number.parseInt(name.slice(this.interfacePrefix.length), 36));
      }
    }
    slots.delete(Number.NaN);
    return slots;
  }
}

/**
 * Makes the namespaces of `slots`, ready for use: addresses, default route, everything up, no IPv6. Two kinds of processes in all: one for the host's
 * side of every slot, one per slot for the inside. On failure none of them is left.
 */
export async function createNamespaces(
  slots: readonly number[],
  names: SlotNames,
  plan: AddressPlan,
  mtu: number,
): Promise<void> {
  const outside = slots.flatMap((slot) => {
    const device = names.hostInterface(slot);
    return [
      `netns add ${names.namespace(slot)}`,
      `link add ${device} mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${names.namespace(slot)}`,
      `link set ${device} addrgenmode none`,
      `addr add ${plan.hostAddress(slot)}/31 dev ${device}`,
      `link set ${device} up`,
    ];
  });
  const inside = (slot: number) => [
    'link set lo up',
    'link set eth0 addrgenmode none',
    `addr add ${plan.guestAddress(slot)}/31 dev eth0`,
    'link set eth0 up',
    `route add default via ${plan.hostAddress(slot)}`,
  ];
  try {
    await batch(['ip', '-batch', '-'], outside);
    await Promise.all(
      slots.map((slot) => batch(['ip', '-n', names.namespace(slot), '-batch', '-'], inside(slot))),
    );
  } catch (error) {
    await removeNamespaces(slots, names);
    throw error;
  }
}

/** Takes away whatever exists of the slots. @throws SkerryError `internal` when something could not be removed. */
export async function removeNamespaces(slots: readonly number[], names: SlotNames): Promise<void> {
  // The interface is deleted by name, not left to the namespace's end: that comes later, in a kernel thread.
  const links = slots.map((slot) => names.hostInterface(slot)).filter((name) => existsSync(deviceDir(name)));
  const spaces = slots
    .map((slot) => names.namespace(slot))
    .filter((name) => existsSync(join(netnsDir, name)));
  if (links.length + spaces.length === 0) return;
  await batch(
    ['ip', '-force', '-batch', '-'],
    [...links.map((name) => `link del ${name}`), ...spaces.map((name) => `netns del ${name}`)],
    [1],
  );
  const left = [
    ...links.filter((name) => existsSync(deviceDir(name))),
    ...spaces.filter((name) => existsSync(join(netnsDir, name))),
  ];
  if (left.length > 0) throw new SkerryError('internal', `Could not remove ${left.join(', ')}.`);
}

const deviceDir = (name: string): string => join('/sys/class/net', name);

async function batch(
  argv: readonly [string, ...string[]],
  lines: readonly string[],
  okCodes: readonly number[] = [],
): Promise<void> {
  await run(argv, { input: `${lines.join('\n')}\n`, timeoutMs: 30_000, okCodes });
}
