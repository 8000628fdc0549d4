/**
 * The certificate of the port: the operator's, or one the server signs itself at its first start. The official clients do not check it on localhost
 * and insist on a trusted one elsewhere.
 */
import { X509Certificate } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generate } from 'selfsigned';
import { SkerryError } from '../errors/skerry-error.ts';

export interface Certificate {
  /** PEM certificate chain. */
  readonly cert: string;
  /** PEM private key. */
  readonly key: string;
  /** True when the operator named it; clients elsewhere can then be expected to trust it. */
  readonly configured: boolean;
}

export interface CertificateOptions {
  readonly dataDir: string;
  /** Both or neither. */
  readonly certFile: string;
  readonly keyFile: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

const DAY_MS = 86_400_000;
const LIFETIME_DAYS = 3650;
/** A self-signed certificate is renewed this long before it runs out. */
const RENEW_BEFORE_MS = 30 * DAY_MS;

/**
 * Reads the configured certificate, or the self-signed one of the data directory, making it when it is missing or runs out.
 * @throws SkerryError `invalid-argument` when only one of the two files is named or one cannot be read
 */
export async function loadCertificate(options: CertificateOptions): Promise<Certificate> {
  const { certFile, keyFile } = options;
  if (certFile || keyFile) {
    if (!certFile || !keyFile) {
      throw new SkerryError('invalid-argument', 'tlsCertFile and tlsKeyFile must be given together.');
    }
    const [cert, key] = await Promise.all([readPem(certFile), readPem(keyFile)]);
    return { cert, key, configured: true };
  }
  const directory = join(options.dataDir, 'tls');
  const certPath = join(directory, 'cert.pem');
  const keyPath = join(directory, 'key.pem');
  try {
    const [cert, key] = await Promise.all([readFile(certPath, 'utf8'), readFile(keyPath, 'utf8')]);
    if (Date.parse(new X509Certificate(cert).validTo) - options.now() > RENEW_BEFORE_MS) {
      return { cert, key, configured: false };
    }
  } catch {
    // Missing or damaged: made anew below.
  }
  const { cert, private: key } = await generate([{ name: 'commonName', value: 'skerry' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    notBeforeDate: new Date(options.now() - DAY_MS),
    notAfterDate: new Date(options.now() + LIFETIME_DAYS * DAY_MS),
    extensions: [
      {
        name: 'subjectAltName',
        altNames: [
          { type: 2, value: 'localhost' },
          { type: 7, ip: '127.0.0.1' },
          { type: 7, ip: '::1' },
        ],
      },
    ],
  });
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await replaceFile(keyPath, key);
  await replaceFile(certPath, cert);
  return { cert, key, configured: false };
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new SkerryError('invalid-argument', `Cannot read ${path} for TLS: ${String(error)}`, {
      cause: error,
    });
  }
}

/** Whole or not at all, and readable by this user only. */
async function replaceFile(path: string, content: string): Promise<void> {
  await writeFile(`${path}.new`, content, { mode: 0o600 });
  await rename(`${path}.new`, path);
}
