/** Who makes a call and from where: read from its headers once, before its body, and carried to the handlers in the call's context values. */
import { createContextKey, type HandlerContext } from '@connectrpc/connect';
import type { AccessTokens, RouterGrant } from '../../../auth/access-tokens.ts';
import type { Identity } from '../../../auth/scopes.ts';
import type { TokenStore } from '../../../auth/token-store.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { CreateOptions } from '../../../sandboxes/sandboxes.ts';
import type { AnyRequest } from '../../../transport/port.ts';
import { isEncrypted } from '../../../transport/tunnel.ts';

export type ClientKind = 'python' | 'javascript' | 'go' | 'other';

export interface Call {
  /** The token id (control plane) or sandbox id (command router) the caller proved to be; scopes idempotency keys. */
  readonly principal: string;
  /** Whose token it is made with, or was when the sandbox was opened to it. */
  readonly identity: Identity;
  /** Set on the command router: the sandbox its token opens. */
  readonly grant: RouterGrant | undefined;
  readonly client: ClientKind;
  /** As the client gives it, at most 64 characters; for logs only. */
  readonly clientVersion: string;
  /** `host[:port]` under which the client reached this server. */
  readonly authority: string;
  /** True when the client itself speaks TLS to us: not when a proxy or `skerry connect` does in its place. */
  readonly encrypted: boolean;
}

/** `x-modal-client-type` values (docs/protocol/control-plane.md, section 2). */
const clientKinds: Readonly<Record<string, ClientKind>> = { '1': 'python', '8': 'javascript', '9': 'go' };

/** Host names and addresses with an optional port, which is all that may come back to a client as part of a URL. */
const AUTHORITY = /^(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:\d{1,5})?$/;

const callKey = createContextKey<Call | undefined>(undefined, { description: 'skerry call' });

export { callKey };

/** @throws SkerryError `internal` in a handler that was not reached through the endpoint, which a caller cannot cause */
export function callOf(context: Pick<HandlerContext, 'values'>): Call {
  const call = context.values.get(callKey);
  if (!call) throw new SkerryError('internal', 'The call was not authenticated.');
  return call;
}

/**
 * Whose a sandbox is that a call makes, and what a repeat of the call finds it by. That is kept with the sandbox itself: a server that dies before it stored the answer must
 * not make a second one.
 */
export function makerOf(
  context: Pick<HandlerContext, 'values' | 'requestHeader'>,
): Pick<CreateOptions, 'requestKey' | 'tokenId'> {
  const { principal, identity } = callOf(context);
  const key = context.requestHeader.get('x-idempotency-key');
  return { requestKey: key ? `${principal}/${key}` : undefined, tokenId: identity.tokenId };
}

export interface Authenticators {
  readonly tokens: TokenStore;
  readonly accessTokens: AccessTokens;
}

/** @throws SkerryError `unauthenticated` */
export function authenticateControlPlane(request: AnyRequest, { tokens }: Authenticators): Call {
  const identity = tokens.verify(
    header(request, 'x-modal-token-id'),
    header(request, 'x-modal-token-secret'),
  );
  return describe(request, identity.tokenId, identity, undefined);
}

/** @throws SkerryError `unauthenticated` */
export async function authenticateRouter(
  request: AnyRequest,
  { accessTokens, tokens }: Authenticators,
): Promise<Call> {
  const bearer = /^bearer +(\S{1,4096})$/i.exec(header(request, 'authorization') ?? '')?.[1];
  if (!bearer) throw new SkerryError('unauthenticated', 'The access token of the sandbox is missing.');
  const grant = await accessTokens.verifyRouter(bearer);
  const identity = tokens.identityOf(grant.tokenId ?? tokens.tokenId);
  return describe(request, grant.sandboxId, identity, grant);
}

function describe(
  request: AnyRequest,
  principal: string,
  identity: Identity,
  grant: RouterGrant | undefined,
): Call {
  const version =
    header(request, 'x-modal-libmodal-version') ?? header(request, 'x-modal-client-version') ?? '';
  return {
    principal,
    identity,
    grant,
    client: clientKinds[header(request, 'x-modal-client-type') ?? ''] ?? 'other',
    clientVersion: version.slice(0, 64),
    authority: authorityOf(request),
    encrypted: isEncrypted(request),
  };
}

/**
 * What the client dialled: `:authority` or `Host`, unless a proxy replaced it, which `x-modal-host` (the host name of the client's server URL) tells.
 */
function authorityOf(request: AnyRequest): string {
  const received = ('authority' in request ? request.authority : undefined) ?? header(request, 'host') ?? '';
  const dialled = header(request, 'x-modal-host');
  const authority =
    dialled !== undefined && AUTHORITY.test(dialled) && hostOf(received) !== hostOf(dialled)
      ? dialled
      : received;
  return AUTHORITY.test(authority) ? authority : 'localhost';
}

/** The host of an authority without port and brackets. */
export function hostOf(authority: string): string {
  return authority
    .replace(/:\d{1,5}$/, '')
    .replace(/^\[|\]$/g, '')
    .toLowerCase();
}

/**
 * A header's value. The Go client sends its token twice on the calls it makes by itself (AuthTokenGet inside another call); Node joins
 * repeated headers with a comma, and the first one counts.
 */
function header(request: AnyRequest, name: string): string | undefined {
  const value = request.headers[name];
  const first = typeof value === 'string' ? value : value?.[0];
  return first?.split(',', 1)[0]?.trim();
}
