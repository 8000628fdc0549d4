/**
 * Network namespaces with one veth pair each: making them, taking them away, finding those that are there. A namespace is used once: what a sandbox
 * left in it (sockets, connection tracking, gVisor's taking over of the addresses) must not reach the next one.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';
import { run } from '../platform/command.ts';
import { unmount } from '../platform/mounts.ts';
import { type Addressing, CONSTANT, GUEST_HARDWARE, insideOf } from './inside.ts';
import type { AddressPlan } from './subnet.ts';

/** Where `ip netns` keeps its own; earlier versions of Skerry used it too. */
const sharedDir = '/run/netns';

/** Names of everything a slot owns, derived from the server's instance name, its directory and the slot's number alone. */
export class SlotNames {
  readonly interfacePrefix: string;
  /** Holds the namespaces: a directory of ours whose mounts nobody else sees, while those below `/run/netns` are copied to every mount namespace. */
  readonly directory: string;
  readonly #formerPrefix: string;

  /** @param instance 8 hexadecimal digits; with the prefix and 5 digits of a slot that is the 15 characters an interface name may have. */
  constructor(instance: string, directory: string) {
    this.interfacePrefix = `sk${instance}`;
    this.directory = directory;
    this.#formerPrefix = `skerry-${instance}-`;
  }

  hostInterface(slot: number): string {
    return `${this.interfacePrefix}${slot.toString(36)}`;
  }

  namespacePath(slot: number): string {
    return join(this.directory, String(slot));
  }

  /** Where the user namespace is held that owns the network namespace, if it has one. */
  userNamespacePath(slot: number): string {
    return join(this.directory, `${slot}.user`);
  }

  /** Every path at which a namespace of the slot may be, that of earlier versions included. */
  namespacePaths(slot: number): readonly string[] {
    const former = join(sharedDir, `${this.#formerPrefix}${slot}`);
    return [this.namespacePath(slot), this.userNamespacePath(slot), former];
  }

  /** The slots of which a namespace or a host interface exists. */
  async existing(): Promise<Set<number>> {
    const slots = new Set<number>();
    for (const name of await readdir(this.directory).catch(() => [])) slots.add(Number.parseInt(name, 10));
    for (const name of await readdir(sharedDir).catch(() => [])) {
      if (name.startsWith(this.#formerPrefix)) slots.add(Number(name.slice(this.#formerPrefix.length)));
    }
    for (const name of await readdir(DEVICES)) {
      if (name.startsWith(this.interfacePrefix)) {
        slots.add(Number.parseInt(name.slice(this.interfacePrefix.length), 36));
      }
    }
    slots.delete(Number.NaN);
    return slots;
  }
}

/** How namespaces are made. */
export interface SlotShape {
  readonly mtu: number;
  readonly addressing: Addressing;
  /** The hardware address that sandboxes send to (`latch.ts`); undefined lets them ask for it. */
  readonly gatewayAddress: string | undefined;
  /** What makes user namespaces; undefined where there are none. */
  readonly users?: UserNamespaces | undefined;
}

/** Network namespaces may belong to a user namespace each, whose ids are their slot's alone. */
export interface UserNamespaces {
  /** The program of `trees/`. */
  readonly program: string;
  readonly firstIdOf: (slot: number) => number;
}

/**
 * Makes the namespaces of `slots`, ready for use: addresses, default route, everything up, no IPv6. One process for the host's side of all slots, two
 * per slot for the namespace and its inside. On failure the caller removes what there is, with `removeNamespaces`.
 */
export async function createNamespaces(
  slots: readonly number[],
  names: SlotNames,
  plan: AddressPlan,
  { mtu, addressing, gatewayAddress, users }: SlotShape,
): Promise<void> {
  const outside = slots.flatMap((slot) => {
    const device = names.hostInterface(slot);
    const [host, guest] = [plan.hostAddress(slot), plan.slotAddress(slot)];
    const hardware = addressing === 'constant' ? `address ${GUEST_HARDWARE} ` : '';
    return [
      `link add ${device} mtu ${mtu} type veth peer name eth0 ${hardware}mtu ${mtu} netns ${names.namespacePath(slot)}`,
      `link set ${device} addrgenmode none`,
      `addr add ${host}/${addressing === 'constant' ? 32 : 31} dev ${device}`,
      `link set ${device} up`,
      ...(addressing === 'constant'
        ? [
            `neigh add ${CONSTANT.address} lladdr ${GUEST_HARDWARE} dev ${device} nud permanent`,
            `route add ${guest}/32 via ${CONSTANT.address} dev ${device} onlink src ${host}`,
          ]
        : []),
    ];
  });
  const inside = (slot: number) => {
    const { address, gateway } = insideOf(addressing, plan, slot);
    return [
      'link set lo up',
      'link set eth0 addrgenmode none',
      `addr add ${address}/31 dev eth0`,
      'link set eth0 up',
      ...(gatewayAddress === undefined
        ? []
        : [`neigh add ${gateway} lladdr ${gatewayAddress} dev eth0 nud permanent`]),
      `route add default via ${gateway}`,
    ];
  };
  await mkdir(names.directory, { recursive: true, mode: 0o700 });
  await Promise.all(slots.map((slot) => holdNewNamespace(slot, names, users)));
  await batch(['ip', '-batch', '-'], outside);
  await Promise.all(
    slots.map((slot) =>
      batch(['nsenter', `--net=${names.namespacePath(slot)}`, '--', 'ip', '-batch', '-'], inside(slot)),
    ),
  );
}

/** Takes away whatever exists of the slots. @throws SkerryError `internal` when something could not be removed. */
export async function removeNamespaces(slots: readonly number[], names: SlotNames): Promise<void> {
  // The interface is deleted by name, not left to the namespace's end: that comes later, in a kernel thread.
  const links = slots.map((slot) => names.hostInterface(slot)).filter(isDevice);
  const spaces = slots.flatMap((slot) => names.namespacePaths(slot)).filter((path) => existsSync(path));
  const deletion = links.map((name) => `link del ${name}`);
  await Promise.all([
    deletion.length > 0 && batch(['ip', '-force', '-batch', '-'], deletion, [1]),
    letGo(spaces),
  ]);
  const left = [...links.filter(isDevice), ...spaces.filter((path) => existsSync(path))];
  if (left.length > 0) throw new SkerryError('internal', `Could not remove ${left.join(', ')}.`);
}

/** Makes a network namespace that lives as long as it is mounted, and the user namespace that owns it, if there is to be one. */
async function holdNewNamespace(
  slot: number,
  names: SlotNames,
  users: UserNamespaces | undefined,
): Promise<void> {
  const path = names.namespacePath(slot);
  if (users) {
    const first = String(users.firstIdOf(slot));
    await run([users.program, 'make-namespaces', first, names.userNamespacePath(slot), path]);
    return;
  }
  await writeFile(path, '', { mode: 0o600 });
  await run(['unshare', `--net=${path}`, '--', 'true'], { timeoutMs: 30_000 });
}

/** Nothing may be mounted on a file, after a start that failed half-way. A failure shows in what is left. */
async function letGo(paths: readonly string[]): Promise<void> {
  await unmount(paths).catch(() => {});
  await Promise.all(paths.map((path) => rm(path, { force: true }).catch(() => {})));
}

const DEVICES = '/sys/class/net';

/** Whether the host has a network device of this name. */
export const isDevice = (name: string): boolean => existsSync(join(DEVICES, name));

/** Bytes, with the headers of every layer. What comes through a tunnel goes by the agent, and is not among them. */
export interface Traffic {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** What the sandbox at the other end of this device sent and received; undefined when there is no such device. */
export async function trafficOf(device: string): Promise<Traffic | undefined> {
  const count = async (name: string) =>
    Number(await readFile(join(DEVICES, device, 'statistics', name), 'utf8'));
  try {
    // What the host's end receives, the sandbox sent.
    const [sentBytes, receivedBytes] = await Promise.all([count('rx_bytes'), count('tx_bytes')]);
    return { sentBytes, receivedBytes };
  } catch {
    return undefined;
  }
}

async function batch(
  argv: readonly [string, ...string[]],
  lines: readonly string[],
  okCodes: readonly number[] = [],
): Promise<void> {
  await run(argv, { input: `${lines.join('\n')}\n`, timeoutMs: 30_000, okCodes });
}
