/** Who is calling, and what they may do. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Identity, requireScope } from '../../auth/scopes.ts';
import type { TokenStore } from '../../auth/token-store.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { SandboxId } from '../../ids.ts';
import type { CreateOptions } from '../../sandboxes/sandboxes.ts';
import { isEncrypted } from '../../transport/tunnel.ts';

/** The part of authentication that the HTTP interfaces need. */
export type HttpAuth = Pick<
  TokenStore,
  'verify' | 'identityOfApiKey' | 'sandboxOfKey' | 'sandboxKey' | 'endWith' | 'countCreates'
>;

type Caller = { readonly identity: Identity } & (
  | {
      /** `token`: `<id>:<secret>`, which provisions as well; `api-key`: a `SANDBOX_API_KEY`, which reaches every sandbox. */
      readonly kind: 'token' | 'api-key';
    }
  /** One sandbox's own key. */
  | { readonly kind: 'sandbox'; readonly sandboxId: SandboxId }
);

const callers = new WeakMap<FastifyRequest, Caller>();

/** Who calls, whose token lets them do what the method says. The answer ends with the token. */
function callerOf(request: FastifyRequest, reply: FastifyReply, auth: HttpAuth): Caller {
  const caller = bearerOf(request, auth);
  const { identity } = caller;
  requireScope(identity, request.method === 'GET' ? 'read' : 'sandboxes', `${request.method} of this`);
  auth.endWith(identity.tokenId, reply.raw);
  callers.set(request, caller);
  return caller;
}

function bearerOf(request: FastifyRequest, auth: HttpAuth): Caller {
  const bearer = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(request.headers.authorization ?? '')?.[1];
  if (bearer === undefined) {
    throw new SkerryError('unauthenticated', 'The request has no `Authorization: Bearer …` header.');
  }
  const colon = bearer.indexOf(':');
  if (colon >= 0)
    return { kind: 'token', identity: auth.verify(bearer.slice(0, colon), bearer.slice(colon + 1)) };
  const identity = auth.identityOfApiKey(bearer);
  if (identity) return { kind: 'api-key', identity };
  const opened = auth.sandboxOfKey(bearer);
  if (opened) return { kind: 'sandbox', ...opened };
  throw new SkerryError('unauthenticated', 'The bearer token is not valid on this server.');
}

/** @throws SkerryError `unauthenticated`; `scope-missing`; `permission-denied` for a key that reaches sandboxes but may not provision */
export function requireToken(request: FastifyRequest, reply: FastifyReply, auth: HttpAuth): void {
  if (callerOf(request, reply, auth).kind === 'token') return;
  throw new SkerryError(
    'permission-denied',
    'This key reaches sandboxes; provisioning needs the API token, MODBOX_API_TOKEN.',
  );
}

/** @throws SkerryError `unauthenticated`; `scope-missing`; `permission-denied` for another sandbox's key */
export function requireSandboxAccess(
  request: FastifyRequest<{ Params: { sandboxId: string } }>,
  reply: FastifyReply,
  auth: HttpAuth,
): void {
  const caller = callerOf(request, reply, auth);
  if (caller.kind === 'sandbox' && caller.sandboxId !== request.params.sandboxId) {
    throw new SkerryError('permission-denied', 'This key belongs to another sandbox.');
  }
}

/** A sandbox's own key for whoever was let in with that request: it can no more than the caller's token, and ends with it. */
export function sandboxKeyFor(request: FastifyRequest, auth: HttpAuth, sandboxId: SandboxId): string {
  const caller = callers.get(request);
  if (!caller) throw new SkerryError('internal', 'The request was not authenticated.');
  return auth.sandboxKey(sandboxId, caller.identity.tokenId);
}

/** Counts sandboxes that a request is about to make. @throws SkerryError as `TokenStore.countCreates` */
export function countCreates(request: FastifyRequest, auth: HttpAuth, count = 1): void {
  const tokenId = callerIdOf(request);
  if (tokenId !== undefined) auth.countCreates(tokenId, count);
}

/** For whom a sandbox counts that a request makes. */
export const asCaller = (request: FastifyRequest): Pick<CreateOptions, 'tokenId'> => ({
  tokenId: callerIdOf(request),
});

/** The id of the token that a request came with, directly or by a key that came from it; undefined when it had none that is good. */
export const callerIdOf = (request: FastifyRequest): string | undefined =>
  callers.get(request)?.identity.tokenId;

/** `http(s)://host[:port]` as the caller reached us, so that the URLs we hand out work from where the caller is. */
export function baseUrlOf(request: FastifyRequest): string {
  const { socket } = request.raw;
  const scheme = isEncrypted(request.raw) ? 'https' : 'http';
  const authority = request.headers[':authority'];
  const host = request.headers.host ?? (typeof authority === 'string' ? authority : '');
  if (/^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?$/.test(host)) return `${scheme}://${host}`;
  const address = socket.localAddress ?? '127.0.0.1';
  return `${scheme}://${address.includes(':') ? `[${address}]` : address}:${socket.localPort ?? 0}`;
}
