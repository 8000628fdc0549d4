/** Who is calling, and what they may do. */
import type { FastifyRequest } from 'fastify';
import type { TokenStore } from '../../auth/token-store.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { SandboxId } from '../../ids.ts';
import { isEncrypted } from '../../transport/tunnel.ts';

/** The part of authentication that the HTTP interfaces need. */
export type HttpAuth = Pick<
  TokenStore,
  'verify' | 'verifyApiKey' | 'sandboxOfKey' | 'sandboxKey' | 'apiKeyForToken'
>;

type Caller =
  /** The API token, `<id>:<secret>`: provisions, and reaches every sandbox. */
  | { readonly kind: 'token' }
  /** `SANDBOX_API_KEY`: reaches every sandbox. */
  | { readonly kind: 'api-key' }
  /** One sandbox's own key. */
  | { readonly kind: 'sandbox'; readonly sandboxId: SandboxId };

function callerOf(request: FastifyRequest, auth: HttpAuth): Caller {
  const bearer = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(request.headers.authorization ?? '')?.[1];
  if (bearer === undefined) {
    throw new SkerryError('unauthenticated', 'The request has no `Authorization: Bearer …` header.');
  }
  const colon = bearer.indexOf(':');
  if (colon >= 0) {
    auth.verify(bearer.slice(0, colon), bearer.slice(colon + 1));
    return { kind: 'token' };
  }
  if (auth.verifyApiKey(bearer)) return { kind: 'api-key' };
  const sandboxId = auth.sandboxOfKey(bearer);
  if (sandboxId) return { kind: 'sandbox', sandboxId };
  throw new SkerryError('unauthenticated', 'The bearer token is not valid on this server.');
}

/** @throws SkerryError `unauthenticated`; `permission-denied` for a key that reaches sandboxes but may not provision */
export function requireToken(request: FastifyRequest, auth: HttpAuth): void {
  if (callerOf(request, auth).kind === 'token') return;
  throw new SkerryError(
    'permission-denied',
    'This key reaches sandboxes; provisioning needs the API token, MODBOX_API_TOKEN.',
  );
}

/** @throws SkerryError `unauthenticated`; `permission-denied` for another sandbox's key */
export function requireSandboxAccess(request: FastifyRequest, auth: HttpAuth, sandboxId: string): void {
  const caller = callerOf(request, auth);
  if (caller.kind === 'sandbox' && caller.sandboxId !== sandboxId) {
    throw new SkerryError('permission-denied', 'This key belongs to another sandbox.');
  }
}

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
