/** Which certificates the server's own connections trust. */
import { readFile } from 'node:fs/promises';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';

/** Adds what the machine trusts and the certificates of a PEM file to Node's own, for every connection made after it. */
export async function trustCertificates(extraCaFile: string): Promise<void> {
  const extra = await readFile(extraCaFile, 'utf8');
  const certificates = extra.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  setDefaultCACertificates([
    ...new Set([...getCACertificates('default'), ...getCACertificates('system'), ...certificates]),
  ]);
}
