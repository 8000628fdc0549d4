/** Where and with what a client reaches the command router of a sandbox. */
import type { AccessTokens } from '../../../auth/access-tokens.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { Sandbox } from '../../../sandboxes/sandboxes.ts';
import { type Call, hostOf } from '../rpc/call.ts';
import { isOlderThan } from '../rpc/client-version.ts';

export interface RouterAccess {
  readonly jwt: string;
  readonly url: string;
}

/** Also for ended sandboxes: their output is read through it. */
export async function routerAccess(
  sandbox: Sandbox,
  call: Call,
  accessTokens: AccessTokens,
): Promise<RouterAccess> {
  const { tokenId } = call.identity;
  return {
    jwt: await accessTokens.forRouter({ sandboxId: sandbox.id, taskId: sandbox.taskId, tokenId }),
    url: routerUrl(call),
  };
}

/** @throws SkerryError `conflict` for a client that could not connect to the router: its older calls serve it instead */
export function refuseUselessRouter(call: Call): void {
  if (hasNoUseOfRouter(call)) {
    throw new SkerryError('conflict', 'This client would not trust the command router on localhost.');
  }
}

/** Hosts for which the clients speak to a router without a trusted certificate (docs/protocol/control-plane.md, section 1). */
const LOCAL_HOSTS: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '::1', '172.21.0.1']);

/**
 * Python clients that know the router and check its certificate on localhost as well: from 1.2.1 to 1.3.1. Nothing on localhost has a certificate
 * they trust, and FAILED_PRECONDITION sends them to the container calls, which all of them still have.
 */
const CHECKS_LOCAL_CERTIFICATE = { since: [1, 2, 1], before: [1, 3, 2] } as const;

/** Whether a client is to be told that there is no router for it, since it could not connect to the one there is. */
export function hasNoUseOfRouter(call: Pick<Call, 'authority' | 'client' | 'clientVersion'>): boolean {
  const { since, before } = CHECKS_LOCAL_CERTIFICATE;
  return (
    call.client === 'python' &&
    LOCAL_HOSTS.has(hostOf(call.authority)) &&
    isOlderThan(call.clientVersion, before) &&
    !isOlderThan(call.clientVersion, since)
  );
}

/** Python clients before this version refuse a plaintext router, also on localhost; there they do not check its certificate. */
const PLAINTEXT_SINCE = [1, 5] as const;

/**
 * The router is on the port the client already reached. JavaScript and Go insist on `https` and speak plaintext all the same on localhost; Python takes
 * `http` at its word there. Elsewhere all of them want `https`.
 */
export function routerUrl(call: Pick<Call, 'authority' | 'client' | 'clientVersion' | 'encrypted'>): string {
  const local = LOCAL_HOSTS.has(hostOf(call.authority));
  const speaksPlaintext =
    call.client === 'other' ||
    (call.client === 'python' && !isOlderThan(call.clientVersion, PLAINTEXT_SINCE));
  return `${local && !call.encrypted && speaksPlaintext ? 'http' : 'https'}://${call.authority}`;
}
