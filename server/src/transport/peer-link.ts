/** Connections to another server of ours. What proves that it is the one that is meant is the key of its certificate. */
import { once } from 'node:events';
import { isIP } from 'node:net';
import tls, { type TLSSocket } from 'node:tls';
import { fingerprintOf } from './certificate.ts';

/** Where another server listens. */
export interface Peer {
  readonly host: string;
  readonly port: number;
  /** Of the key of its certificate: `sha256:` and 64 hexadecimal digits. */
  readonly fingerprint: string;
}

export const isSamePeer = (one: Peer, other: Peer | undefined): boolean =>
  one.host === other?.host && one.port === other.port && one.fingerprint === other.fingerprint;

/** For TCP and TLS together. */
const ATTEMPT_TIMEOUT_MS = 5_000;
const KEEPALIVE_MS = 10_000;

export interface LinkOptions {
  /** What is to be spoken (ALPN, RFC 7301). */
  readonly protocol: string;
  /** Whether this side goes on after the other has ended, as what carries the bytes of others does. */
  readonly allowHalfOpen: boolean;
}

/** @throws when it does not answer in time, or is another server than is meant */
export async function openPeerLink(
  { host, port, fingerprint }: Peer,
  { protocol, allowHalfOpen }: LinkOptions,
  signal: AbortSignal,
): Promise<TLSSocket> {
  // The types do not know `allowHalfOpen`, which the documentation of tls.connect has.
  const how: tls.ConnectionOptions & { readonly allowHalfOpen: boolean } = {
    ...{ host, port, ALPNProtocols: [protocol], minVersion: 'TLSv1.2', allowHalfOpen },
    ...(isIP(host) ? {} : { servername: host }),
    // The key itself is compared below, before anything is sent: neither names nor dates nor issuers say more.
    rejectUnauthorized: false,
  };
  const link = tls.connect(how);
  const attempt = AbortSignal.any([signal, AbortSignal.timeout(ATTEMPT_TIMEOUT_MS)]);
  try {
    await once(link, 'secureConnect', { signal: attempt });
    const key = link.getPeerX509Certificate()?.publicKey;
    if (!key || fingerprintOf(key) !== fingerprint)
      throw new Error(`${host} shows another key than it is known by`);
    if (link.alpnProtocol !== protocol) throw new Error(`${host} does not speak ${protocol}`);
    link.setNoDelay(true).setKeepAlive(true, KEEPALIVE_MS);
    return link;
  } catch (error) {
    link.on('error', () => {}); // what is still under way may fail after it was given up
    link.destroy();
    throw error;
  }
}
