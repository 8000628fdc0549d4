/** How TLS to a database is checked: the modes of libpq, https://www.postgresql.org/docs/current/libpq-ssl.html, in the words of Node. */
import { readFileSync, statSync } from 'node:fs';
import { type ConnectionOptions, createSecureContext, getCACertificates } from 'node:tls';
import type { DatabaseUrl } from './database-url.ts';
import { Unusable } from './unusable.ts';

/** Others than the owner may read it; of one that is root's, its group may, as libpq has it. */
const OPEN_TO_OTHERS = 0o077;
const OPEN_TO_OTHERS_OF_ROOTS = 0o037;

/** @returns false for none. @throws Unusable for files that are not what they should be */
export function tlsOptions({ tls, authorities, certificate }: DatabaseUrl): ConnectionOptions | false {
  if (tls === 'disable') return false;
  const own: ConnectionOptions = certificate ? ownCertificate(certificate) : {};
  if (authorities === undefined) return { ...own, rejectUnauthorized: false };
  const ca = authorities === 'system' ? getCACertificates('system') : authoritiesIn(authorities);
  const nameless = tls === 'verify-ca' ? { checkServerIdentity: () => undefined } : {};
  return { ...own, ...nameless, ca, rejectUnauthorized: true };
}

function authoritiesIn(file: string): string {
  const text = readNamed('sslrootcert', file);
  const holds = () => createSecureContext({ ca: text });
  if (!text.includes('-----BEGIN CERTIFICATE-----') || !works(holds))
    throw new Unusable(`the file of sslrootcert, ${file}, has no certificates in PEM`);
  return text;
}

function ownCertificate({
  cert,
  key,
  passphrase,
}: NonNullable<DatabaseUrl['certificate']>): ConnectionOptions {
  const own = { cert: readNamed('sslcert', cert), key: readNamed('sslkey', key) };
  const { mode, uid } = statSync(key);
  if (mode & (uid === 0 ? OPEN_TO_OTHERS_OF_ROOTS : OPEN_TO_OTHERS))
    throw new Unusable(
      `others may read the file of sslkey, ${key}: chmod 600, or 0400 as defaultMode of a Secret that is mounted`,
    );
  const options = passphrase === undefined ? own : { ...own, passphrase };
  if (!works(() => createSecureContext(options)))
    throw new Unusable(
      `the files of sslcert and sslkey, ${cert} and ${key}, are not a certificate and its key in PEM${passphrase === undefined ? ' (one that is encrypted needs sslpassword)' : ', or sslpassword is not that of the key'}`,
    );
  return options;
}

/** @param name of the setting, for the error */
export function readNamed(name: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new Unusable(
      `the file of ${name} cannot be read: ${error instanceof Error ? error.message : error}`,
    );
  }
}

function works(work: () => unknown): boolean {
  try {
    work();
    return true;
  } catch {
    return false;
  }
}
