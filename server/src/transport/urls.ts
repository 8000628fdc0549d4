/** Under which URL clients reach the port: those of this machine and those of others. */
import { isIP } from 'node:net';
import type { Certificate } from './certificate.ts';

export interface Listening {
  /** As configured: an address, a name, or one of the two that mean all addresses. */
  readonly host: string;
  readonly port: number;
  readonly certificate: Pick<Certificate, 'configured' | 'name'>;
}

/** Whether who listens there is open to this machine only. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127\./.test(host);
const isEverywhere = (host: string): boolean => host === '0.0.0.0' || host === '::';
const at = (scheme: string, host: string, port: number): string =>
  `${scheme}://${isIP(host) === 6 ? `[${host}]` : host}:${port}`;

/** Without the port where it is the one that the scheme means. */
export const urlOf = (scheme: 'http' | 'https', host: string, port: number): string =>
  at(scheme, host, port).replace(scheme === 'http' ? /:80$/ : /:443$/, '');

/** Where the server's own command reaches it, without TLS. */
export const localUrl = ({ host, port }: Omit<Listening, 'certificate'>): string =>
  at('http', isEverywhere(host) ? '127.0.0.1' : host, port);

/** What clients of this machine are told: the name of the operator's certificate where the port is open to others, for it is theirs as well. */
export function clientUrl(listening: Listening): string {
  const { host, port, certificate } = listening;
  if (isLoopback(host) || !certificate.configured || certificate.name === undefined)
    return localUrl(listening);
  return at('https', certificate.name, port);
}

/**
 * What other machines are told; undefined when the port is open to this one only.
 * @param names those of the machine, the one to prefer first
 */
export function remoteUrl(listening: Listening, names: readonly string[]): string | undefined {
  if (isLoopback(listening.host)) return undefined;
  const host = publicHost(listening, names);
  return host === undefined ? undefined : at('https', host, listening.port);
}

/**
 * The name or address by which as many as possible reach what listens there; undefined when the machine has none.
 * @param names those of the machine, the one to prefer first
 */
export function publicHost(
  { host, certificate }: Omit<Listening, 'port'>,
  names: readonly string[],
): string | undefined {
  if (isLoopback(host)) return host;
  if (certificate.configured && certificate.name !== undefined) return certificate.name;
  if (!isEverywhere(host)) return host;
  // A bare host name means little to other machines; an address, or a name with its domain, is found.
  return names.find((name) => isIP(name) !== 0 || name.includes('.')) ?? names[0];
}
