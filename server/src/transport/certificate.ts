/**
 * The certificate of the port: the operator's, or else one of an authority that the server makes for itself at its first start. The official clients
 * do not check it on localhost and insist on a trusted one elsewhere; `skerry connect` knows it by the fingerprint of its key.
 */
import { createHash, type KeyObject, X509Certificate } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { SkerryError } from '../errors/skerry-error.ts';
import { replaceFile } from '../platform/replace-file.ts';
import { makeAuthority, makeServerCertificate, type Pair, type Validity } from './issue-certificate.ts';

export interface Certificate {
  /** PEM certificate chain, the server's own first. */
  readonly cert: string;
  /** PEM private key. */
  readonly key: string;
  /** True when the operator named it; clients elsewhere can then be expected to trust it. */
  readonly configured: boolean;
  /** `sha256:` and 64 hexadecimal digits of the server's public key (DER of its SubjectPublicKeyInfo), which outlives renewals. */
  readonly fingerprint: string;
  /** The name clients reach the server by: its first that is no pattern and not of the loopback; undefined when there is none. */
  readonly name: string | undefined;
}

export interface CertificateOptions {
  readonly dataDir: string;
  /** Both or neither. */
  readonly certFile: string;
  readonly keyFile: string;
  /** Names and addresses that an own certificate has beside those of localhost. */
  readonly names: readonly string[];
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** How often a server looks at it: one that was renewed on disk is used from then on, an own one is renewed before it runs out. */
export const CERTIFICATE_INTERVAL_MS = 3_600_000;
const DAY_MS = 86_400_000;
const AUTHORITY_DAYS = 3650;
/** Some clients refuse certificates of servers that are valid for longer than 825 days. */
const LIFETIME_DAYS = 397;
/** An own certificate is renewed this long before it runs out. */
const RENEW_BEFORE_MS = 30 * DAY_MS;

/** Whether a server that shows one need not show the other. */
export const isSameCertificate = (one: Certificate, other: Certificate): boolean =>
  one.cert === other.cert && one.key === other.key;

/**
 * Reads the configured certificate, or the own one of the data directory (`tls/`: `ca.pem` and `cert.pem` with their keys), making what is missing,
 * runs out or lacks a name. The key of the server and its authority stay the same when a certificate is renewed.
 * @throws SkerryError `invalid-argument` when only one of the two files is named, one cannot be read, or they do not go together
 */
export async function loadCertificate(options: CertificateOptions): Promise<Certificate> {
  const { certFile, keyFile, names } = options;
  if (!certFile && !keyFile)
    return ownCertificate(options, 'cert', ['localhost', '127.0.0.1', '::1', ...names]);
  if (!certFile || !keyFile) {
    throw new SkerryError('invalid-argument', 'tlsCertFile and tlsKeyFile must be given together.');
  }
  return configuredCertificate(certFile, keyFile);
}

/**
 * The same for every name directly below a domain: `tunnels.pem` where none is configured.
 * @throws SkerryError as `loadCertificate`
 */
export async function loadWildcardCertificate(
  options: Omit<CertificateOptions, 'names'> & { readonly domain: string },
): Promise<Certificate> {
  const { certFile, keyFile, domain } = options;
  if (!certFile && !keyFile) return ownCertificate(options, 'tunnels', [`*.${domain}`]);
  if (!certFile || !keyFile) {
    throw new SkerryError('invalid-argument', 'tunnelCertFile and tunnelKeyFile must be given together.');
  }
  return configuredCertificate(certFile, keyFile);
}

async function configuredCertificate(certFile: string, keyFile: string): Promise<Certificate> {
  const [cert, key] = await Promise.all([readPem(certFile), readPem(keyFile)]);
  try {
    createSecureContext({ cert, key });
    return describe(cert, key, true);
  } catch (error) {
    throw new SkerryError(
      'invalid-argument',
      `${certFile} and ${keyFile} are no certificate with its key: ${error instanceof Error ? error.message : error}`,
      { cause: error },
    );
  }
}

/** Names and addresses by which other machines may reach this one. */
export function machineNames(): readonly string[] {
  const addresses = Object.entries(networkInterfaces())
    // Skerry's own interfaces come and go with sandboxes, and nobody else is behind them.
    .filter(([name]) => !/^sk[0-9a-f]{8}/.test(name))
    .flatMap(([, all = []]) => all)
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
    .map(({ address }) => address);
  return [...new Set([hostname(), ...addresses])].filter((name) => isIP(name) > 0 || /^[\w.-]+$/.test(name));
}

function describe(cert: string, key: string, configured: boolean): Certificate {
  const own = new X509Certificate(cert);
  const fingerprint = fingerprintOf(own.publicKey);
  const names = namesOf(own).filter((each) => !LOOPBACK.test(each));
  const name =
    names.find((each) => isIP(each) === 0 && !each.includes('*')) ?? names.find((each) => isIP(each));
  return { cert, key, configured, fingerprint, name };
}

/** `sha256:` and 64 hexadecimal digits of a public key (DER of its SubjectPublicKeyInfo). */
export const fingerprintOf = (key: KeyObject): string =>
  `sha256:${createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex')}`;

/** As Node prints them. */
const LOOPBACK = /^(localhost|127\.[\d.]+|::1|(0:){7}1)$/;

/** The names of a certificate (RFC 5280, subjectAltName), in its order. */
function namesOf(certificate: X509Certificate): string[] {
  return (certificate.subjectAltName ?? '').split(', ').flatMap((entry) => {
    const match = /^(?:DNS|IP Address):([\w.:*-]+)$/.exec(entry);
    return match?.[1] ? [match[1]] : [];
  });
}

/** @param file the name of its files, without endings */
async function ownCertificate(
  { dataDir, now }: Pick<CertificateOptions, 'dataDir' | 'now'>,
  file: 'cert' | 'tunnels',
  names: readonly string[],
): Promise<Certificate> {
  const directory = join(dataDir, 'tls');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const lasts = ({ validTo }: X509Certificate) => Date.parse(validTo) - now() > RENEW_BEFORE_MS;

  const [knownAuthority, known] = await Promise.all([readPair(directory, 'ca'), readPair(directory, file)]);
  const goodAuthority = knownAuthority && lasts(new X509Certificate(knownAuthority.cert));
  const validFor = (days: number): Validity => ({
    notBefore: new Date(now() - DAY_MS),
    notAfter: new Date(now() + days * DAY_MS),
  });
  const authority = goodAuthority
    ? knownAuthority
    : await makeAuthority(authorityName(), validFor(AUTHORITY_DAYS), knownAuthority?.key);
  if (!goodAuthority) await writePair(directory, 'ca', authority);

  const wanted = [...new Set(names)];
  if (known) {
    const own = new X509Certificate(known.cert);
    const covers = (name: string) =>
      (isIP(name) ? own.checkIP(name) : own.checkHost(name.replace('*', 'any'))) !== undefined;
    const issued = own.verify(new X509Certificate(authority.cert).publicKey);
    if (issued && lasts(own) && wanted.every(covers)) return describe(known.cert, known.key, false);
  }
  const made = await makeServerCertificate(authority, wanted, validFor(LIFETIME_DAYS), known?.key);
  await writePair(directory, file, made);
  return describe(made.cert, made.key, false);
}

/** Told apart by people who trust several; X.520 allows 64 characters. */
const authorityName = (): string => `Skerry on ${hostname()}`.slice(0, 64);

/** A certificate with its key, or undefined when it is missing or damaged: it is made anew then. */
async function readPair(directory: string, name: string): Promise<Pair | undefined> {
  try {
    const [cert, key] = await Promise.all([
      readFile(join(directory, `${name}.pem`), 'utf8'),
      readFile(join(directory, `${keyNameOf(name)}.pem`), 'utf8'),
    ]);
    createSecureContext({ cert, key });
    return { cert, key };
  } catch {
    return undefined;
  }
}

async function writePair(directory: string, name: string, { cert, key }: Pair): Promise<void> {
  await replaceFile(join(directory, `${keyNameOf(name)}.pem`), key);
  await replaceFile(join(directory, `${name}.pem`), cert);
}

const keyNameOf = (name: string): string => (name === 'cert' ? 'key' : `${name}-key`);

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new SkerryError('invalid-argument', `Cannot read ${path} for TLS: ${String(error)}`, {
      cause: error,
    });
  }
}
