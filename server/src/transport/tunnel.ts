/**
 * Connections that `skerry connect` carries from another machine: TLS outside, and inside what a client sends to a server on its own localhost. The
 * two ends agree on it by the name below in the TLS handshake (ALPN, RFC 7301).
 */
import type { TLSSocket } from 'node:tls';
import { forwardedOf } from './forwarded.ts';
import type { AnyRequest } from './port.ts';

/** `connect/src/server-link.ts` has the same. */
export const TUNNEL_PROTOCOL = 'skerry-connect';

const tunnelled: unique symbol = Symbol('skerry connect');

/** Marks the outer connection; HTTP/2 hands requests a proxy of their socket, which shows its properties but is not it. */
export function markTunnelled(socket: TLSSocket): void {
  Object.defineProperty(socket, tunnelled, { value: true });
}

export const isTunnelled = (socket: object): boolean => Reflect.get(socket, tunnelled) === true;

/**
 * Whether the caller speaks TLS, which is what the scheme of a URL that it is given must say. TLS that `skerry connect` or a proxy added on the way
 * is none of the caller's, and neither is that between servers.
 */
export function isEncrypted(request: Pick<AnyRequest, 'socket'>): boolean {
  const forwarded = forwardedOf(request);
  if (forwarded) return forwarded.encrypted;
  // Typed as always there; an HTTP/2 request whose connection is gone has none.
  const socket: object | undefined = request.socket;
  return socket !== undefined && Reflect.get(socket, 'encrypted') === true && !isTunnelled(socket);
}
