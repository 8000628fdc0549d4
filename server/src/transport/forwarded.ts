/**
 * How a request of a client looks that one server of ours has another answer. All of it is believed no more than a client's, but for one header, which the server that took the
 * request adds with a key that both have: it says how the client came.
 */
import { timingSafeEqual } from 'node:crypto';
import type { AnyRequest, AnyResponse } from './port.ts';

/** Of the key that the servers of one database have in common. */
export const KEY_BYTES = 32;

/** `<key in base64url> tls` or `… plain`. */
export const FORWARDED = 'skerry-forwarded';
/**
 * A trailer of each answer that was given to its end. Without it, one that was cut looks like a short one: Node resets a stream that is destroyed without an error
 * with NO_ERROR, and shows a reset as the end.
 */
export const WHOLE = 'skerry-whole';

/** What the other server saw. The host that the client dialled is the request's own (`:authority`). */
export interface Forwarded {
  /** True when the client itself spoke TLS. */
  readonly encrypted: boolean;
}

const forwarded: unique symbol = Symbol('forwarded');

/** Undefined for a request that came from its client. */
export const forwardedOf = (request: object): Forwarded | undefined => Reflect.get(request, forwarded);

/** @param key 32 bytes that all servers of one database have, and nobody else */
export const forwardedHeader = (key: Uint8Array, { encrypted }: Forwarded): string =>
  `${Buffer.from(key).toString('base64url')} ${encrypted ? 'tls' : 'plain'}`;

/** Believes what another server says of the request, whose handlers do not see it; who has not the key is a client, whatever it says. */
export function recognizeForwarded(request: AnyRequest, response: AnyResponse, key: Uint8Array): void {
  const said = request.headers[FORWARDED];
  if (said === undefined) return;
  delete request.headers[FORWARDED];
  const [, shown = '', how] = /^([\w-]{43}) (tls|plain)$/.exec(said.toString()) ?? [];
  const bytes = Buffer.from(shown, 'base64url');
  if (bytes.length !== key.length || !timingSafeEqual(bytes, key)) return;
  const value: Forwarded = { encrypted: how === 'tls' };
  Object.defineProperty(request, forwarded, { value });
  if ('stream' in response) response.addTrailers({ [WHOLE]: '1' });
}
