/**
 * Headers of requests whose values a sandbox does not know: the egress proxy puts them into what it sends to certain hosts by HTTPS. For that it takes the place of
 * these hosts, with certificates of an authority that such a sandbox trusts.
 */
import { createHash, X509Certificate } from 'node:crypto';

/** For these hosts: values by the names of headers. */
export interface HeaderRule {
  /** A pattern (`platform/domain-patterns.ts`). */
  readonly domain: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** PEM certificate, whose subject is a common name alone, and PEM key (PKCS #8), ECDSA on P-256. */
export interface HeaderAuthority {
  readonly cert: string;
  readonly key: string;
}

export interface SecretHeaders {
  /** The rules that a policy has sealed. */
  readonly open: (sealed: string) => readonly HeaderRule[];
  /** The same each time, also by another server. */
  readonly authority: () => Promise<HeaderAuthority>;
}

/** What the proxy needs besides rules. */
export interface HeaderTrust {
  readonly authority: HeaderAuthority;
  /** By whom hosts' certificates must be issued, PEM. */
  readonly roots: readonly string[];
}

/** The words of an order to the proxy that come behind a sandbox's patterns. */
export function renderRules(rules: readonly HeaderRule[]): readonly string[] {
  const words = rules.flatMap(({ domain, headers }) =>
    Object.entries(headers).flatMap(([name, value]) => [domain, name, Buffer.from(value).toString('hex')]),
  );
  return words.length > 0 ? [':', ...words] : [];
}

/** The words of the order that tells the proxy whom to trust and as whom to pose. */
export function renderTrust({ authority, roots }: HeaderTrust): readonly string[] {
  const certificate = new X509Certificate(authority.cert);
  const name = certificate.subject.replace(/^CN=/, '');
  const point = certificate.publicKey.export({ type: 'spki', format: 'der' }).subarray(-POINT_BYTES);
  const identifier = createHash('sha1').update(point).digest(); // RFC 5280, 4.2.1.2
  return [Buffer.from(name), identifier, ...[authority.key, ...roots].map(derOf)].map((bytes) =>
    bytes.toString('hex'),
  );
}

/** Of a public key on P-256, at the end of what holds it. */
const POINT_BYTES = 65;
const derOf = (pem: string): Buffer => Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
