/**
 * What a sandbox sees of its network. Every one sees the same addresses, so that what was saved in one can go on in any other, on this machine or on
 * another; the machine tells them apart by their devices and gives each an address of the sandbox network (`subnet.ts`, `translation.ts`).
 * They are link-local ones (RFC 3927): no network of anybody's has them behind a router, so they hide nothing that a sandbox could reach.
 */
import type { AddressPlan } from './subnet.ts';

/**
 * `own`: the sandbox has its address of the sandbox network itself. So it was in earlier versions, whose sandboxes go on, and so it is on a kernel that
 * cannot translate at the ingress of devices.
 */
export type Addressing = 'constant' | 'own';

/** Addresses as programs in a sandbox know them. The sandbox's own and the gateway's are the two of a point-to-point network (RFC 3021). */
export interface Inside {
  readonly address: string;
  readonly gateway: string;
  readonly resolver: string;
}

/** The resolver is not on the link: the gateway's is the one hardware address a sandbox needs to know. */
export const CONSTANT: Inside = {
  address: '169.254.77.2',
  gateway: '169.254.77.3',
  resolver: '169.254.77.1',
};

/** The hardware address of every sandbox with constant addresses: locally administered. Each is alone on its cable. */
export const GUEST_HARDWARE = '02:00:00:00:00:02';

/** What the sandbox of a slot sees. */
export function insideOf(addressing: Addressing, plan: AddressPlan, slot: number): Inside {
  if (addressing === 'constant') return CONSTANT;
  return { address: plan.slotAddress(slot), gateway: plan.hostAddress(slot), resolver: plan.resolver };
}
