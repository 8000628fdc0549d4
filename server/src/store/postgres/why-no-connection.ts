/** Why a database takes no connection, and what to do about it. Beside `unusable.ts`, since it needs the client of PostgreSQL, which a server over SQLite never loads. */
import pg from 'pg';
import { errorCode } from '../../platform/error-code.ts';
import type { DatabaseUrl } from './database-url.ts';
import { Unusable } from './unusable.ts';

/** The database takes no TLS; `pg` has no code for it. */
export const hasNoTls = (error: unknown): boolean =>
  error instanceof Error && error.message === 'The server does not support SSL connections';

/** @returns an `Unusable`, or the error as it is when nobody answered */
export function whyNoConnection(error: unknown, url: DatabaseUrl): unknown {
  if (error instanceof pg.DatabaseError) return new Unusable(ofDatabase(error));
  if (hasNoTls(error))
    return new Unusable(
      `it has no TLS, which sslmode=${url.tls} asks for: turn it on there (ssl = on), or, where nobody else is on the way, say sslmode=disable`,
    );
  const why = ofTls(error, url);
  return why === undefined ? error : new Unusable(why);
}

/** https://www.postgresql.org/docs/current/errcodes-appendix.html */
function ofDatabase({ code, message }: pg.DatabaseError): string {
  switch (code) {
    case '28P01':
      return `${message}: the password is that of the URL, of SKERRY_DATABASE_PASSWORD_FILE, of PGPASSWORD or of ~/.pgpass`;
    case '28000':
      // "no pg_hba.conf entry for host …, no encryption", before 14 "SSL off"; "connection requires a valid client certificate"
      if (/no encryption|SSL off/.test(message))
        return `${message}: it may want TLS, for which sslmode=disable must go`;
      if (message.includes('certificate'))
        return `${message}: sslcert and sslkey name one, which an authority that the database knows has made for that user`;
      return `${message}: its pg_hba.conf says who may come from where`;
    case '3D000':
      return `${message}: make it (createdb), or name another one in the URL`;
    case '42501':
      return `${message}: grant it to the user of the URL`;
    case '53300':
      return `${message}: each server has a few (max_connections there, or the CONNECTION LIMIT of the user)`;
    default:
      return message;
  }
}

/** https://nodejs.org/api/tls.html#x509-certificate-error-codes, and OpenSSL's names of alerts. */
function ofTls(error: unknown, { authorities, certificate }: DatabaseUrl): string | undefined {
  const code = errorCode(error);
  if (!(error instanceof Error) || code === undefined) return undefined;
  switch (code) {
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return `its certificate is for other names than the URL has (${error.message}): use one of these, or sslmode=verify-ca, which does not compare them`;
    case 'CERT_HAS_EXPIRED':
    case 'CERT_NOT_YET_VALID':
      return `its certificate is not valid now (${error.message}): it needs another, or a clock is wrong`;
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'CERT_SIGNATURE_FAILURE':
    case 'INVALID_CA':
      return `no authority ${authorities === 'system' ? 'that this machine trusts' : `in ${authorities}`} made its certificate (${error.message}): sslrootcert has to name the certificate of the one that did`;
    default:
  }
  if (!code.startsWith('ERR_SSL_')) return undefined;
  if (code.includes('_ALERT_'))
    return certificate
      ? `it does not take the certificate in ${certificate.cert} (${error.message}): an authority that it knows (its ssl_ca_file) has to have made it`
      : `it asks for a certificate (${error.message}): sslcert and sslkey name one`;
  return `TLS with it fails: ${error.message}`;
}
