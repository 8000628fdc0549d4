/**
 * Connections to the server: TLS, of a server that is known by the fingerprint of its key or else by a certificate that this machine trusts, and within it
 * what clients say, as if they spoke on the server's own machine.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { isIP } from 'node:net';
import tls, { type TLSSocket } from 'node:tls';
import { ConnectError, usageError } from './connect-error.ts';

/** The ALPN name (RFC 7301) by which the server knows a tunnel; `server/src/transport/tunnel.ts` has the same. */
const TUNNEL_PROTOCOL = 'skerry-connect';
/** For the name look-up, TCP and TLS together. A server that restarts keeps connections waiting in its queue meanwhile. */
const ATTEMPT_TIMEOUT_MS = 20_000;
/** Sleeping laptops and lost networks are noticed by it. */
const KEEPALIVE_MS = 30_000;

export interface Target {
  readonly host: string;
  readonly port: number;
  /** `sha256:` and 64 hexadecimal digits; undefined leaves it to the certificates that this machine trusts. */
  readonly fingerprint: string | undefined;
  /** PEM of certificates trusted instead of the machine's. */
  readonly ca: string | undefined;
}

/** `https://HOST[:PORT]`, the scheme may be left out. @throws ConnectError for anything else */
export function parseServer(text: string): Pick<Target, 'host' | 'port'> {
  const bad = (why: string) =>
    usageError(`${JSON.stringify(text)} is no server: ${why}. Write https://HOST:PORT.`);
  let url: URL;
  try {
    url = new URL(/^[a-z]+:\/\//i.test(text) ? text : `https://${text}`);
  } catch {
    throw bad('it cannot be read');
  }
  if (url.protocol !== 'https:') throw bad(`${url.protocol}// is not encrypted`);
  if (url.username || url.password) throw usageError('The token does not belong in the URL; see --help.');
  if (url.pathname !== '/' || url.search || url.hash) throw bad('there is something behind the port');
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? 443 : Number(url.port) };
}

/** A fingerprint in the form it is compared in. @throws ConnectError */
export function parseFingerprint(text: string): string {
  const digits = /^(?:sha256:)?([0-9a-f]{64})$/i.exec(text.trim())?.[1];
  if (digits === undefined) {
    throw usageError(
      `${JSON.stringify(text)} is no fingerprint: it has the form sha256: and 64 hexadecimal digits.`,
    );
  }
  return `sha256:${digits.toLowerCase()}`;
}

export const nameOf = ({ host, port }: Pick<Target, 'host' | 'port'>): string =>
  `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;

/**
 * Opens one connection to the server. Both directions end separately, as those of a TCP connection.
 * @throws ConnectError saying what is wrong; `signal`'s reason when that ends the attempt
 */
export async function openLink(target: Target, signal: AbortSignal): Promise<TLSSocket> {
  const { host, port, fingerprint, ca } = target;
  signal.throwIfAborted();
  // The types do not know `allowHalfOpen`, which the documentation of tls.connect has.
  const options: tls.ConnectionOptions & { readonly allowHalfOpen: true } = {
    host,
    port,
    // A name for the server to choose a certificate by; an address is none (RFC 6066, section 3).
    ...(isIP(host) ? {} : { servername: host }),
    ALPNProtocols: [TUNNEL_PROTOCOL],
    minVersion: 'TLSv1.2',
    allowHalfOpen: true,
    // With a fingerprint the key itself is compared below, before anything is sent: neither names nor dates nor issuers say more.
    rejectUnauthorized: fingerprint === undefined,
    ...(ca === undefined ? {} : { ca }),
  };
  const socket = tls.connect(options);
  const attempt = AbortSignal.any([signal, AbortSignal.timeout(ATTEMPT_TIMEOUT_MS)]);
  try {
    await once(socket, 'secureConnect', { signal: attempt });
    checkIdentity(socket, target);
    if (socket.alpnProtocol !== TUNNEL_PROTOCOL) throw notSkerry(target);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    return socket;
  } catch (error) {
    socket.on('error', () => {}); // what is still under way may fail after it was given up
    socket.destroy();
    signal.throwIfAborted();
    throw explain(error, target);
  }
}

function checkIdentity(socket: TLSSocket, target: Target): void {
  if (target.fingerprint === undefined) return; // OpenSSL and Node have checked chain and name
  const shown = fingerprintOf(socket);
  if (shown === target.fingerprint) return;
  throw new ConnectError(
    `${nameOf(target)} is not the server that is meant: its key has another fingerprint.\n` +
      `  given  ${target.fingerprint}\n  shown  ${shown ?? 'none'}\n` +
      'Nothing was sent to it. If the server was set up anew, ask its operator what `skerry token create` prints there now.',
  );
}

function fingerprintOf(socket: TLSSocket): string | undefined {
  const spki = socket.getPeerX509Certificate()?.publicKey.export({ type: 'spki', format: 'der' });
  return spki && `sha256:${createHash('sha256').update(spki).digest('hex')}`;
}

const notSkerry = (target: Target, cause?: unknown) =>
  new ConnectError(
    `What answers at ${nameOf(target)} is not a Skerry server that this version of skerry connect knows.`,
    { cause },
  );

/** Node's and OpenSSL's errors in words that say what to do. */
function explain(error: unknown, target: Target): ConnectError {
  if (error instanceof ConnectError) return error;
  const cause = error instanceof Error && error.name === 'AbortError' ? error.cause : error;
  const { code = '', message = String(cause) } = (cause ?? {}) as NodeJS.ErrnoException; // whatever it is, these are optional
  const at = nameOf(target);
  const passing = (text: string) => new ConnectError(text, { passing: true, cause });
  switch (code) {
    case 'ENOTFOUND':
      return new ConnectError(`${target.host} is not a name that can be resolved here.`, {
        passing: true,
        cause,
      });
    case 'EAI_AGAIN':
      return passing(`${target.host} cannot be resolved: the name server does not answer.`);
    case 'ECONNREFUSED':
      return passing(
        `Nothing listens at ${at}. Does the server run, and is it open to other machines (skerry up --host 0.0.0.0)?`,
      );
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'ETIMEDOUT':
      return passing(
        `${at} cannot be reached from here (${code}): look at the network and firewalls between.`,
      );
    case 'ECONNRESET':
    case 'EPIPE':
      return passing(`${at} hung up during the TLS handshake: it restarts, or is not a Skerry server.`);
  }
  if (cause instanceof DOMException && cause.name === 'TimeoutError') {
    return passing(
      `${at} did not answer within ${ATTEMPT_TIMEOUT_MS / 1000} s: look at the network and firewalls between.`,
    );
  }
  if (/^(ERR_TLS_CERT_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH)/.test(code)) {
    return new ConnectError(
      `The certificate of ${at} is not trusted here: ${message}.\n` +
        'Give the fingerprint of its key, which `skerry token create` prints on the server (--fingerprint sha256:…), ' +
        'or the certificate of its authority (--ca-file).',
      { cause },
    );
  }
  if (code.startsWith('ERR_SSL_') || code === 'EPROTO') return notSkerry(target, cause);
  return passing(`Cannot connect to ${at}: ${message}`);
}
