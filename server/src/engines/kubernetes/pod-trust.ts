/**
 * Which certificates sandboxes of a cluster trust: files among the programs that are sent to nodes, of which a Pod is given one. Those of one with secret headers trust the authority of
 * these besides.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { HeaderTrust, SecretHeaders } from '../../network/secret-headers.ts';
import { trustedCertificates } from '../oci/shared-files.ts';
import type { CertificateFile } from './pod-spec.ts';

export interface TrustOptions {
  /** Empty for none. */
  readonly extraCaFile: string;
  /** Undefined where sandboxes have none. */
  readonly secretHeaders: SecretHeaders | undefined;
}

export interface PodTrust {
  /** For the gateway; undefined where sandboxes have no secret headers. */
  readonly ofHeaders: HeaderTrust | undefined;
  /** What is in the files that were written, by their names. */
  readonly files: Readonly<Partial<Record<CertificateFile, string>>>;
}

/** Writes the files that there have to be. @throws SkerryError as `trustedCertificates` */
export async function gatherTrust(
  directory: string,
  { extraCaFile, secretHeaders }: TrustOptions,
): Promise<PodTrust> {
  if (extraCaFile === '' && !secretHeaders) return { ofHeaders: undefined, files: {} };
  const roots = await trustedCertificates(extraCaFile);
  const bundle = (certificates: readonly string[]) => `${certificates.join('\n')}\n`;
  const authority = await secretHeaders?.authority();
  const files: PodTrust['files'] = {
    ...(extraCaFile !== '' && { 'ca-certificates.crt': bundle(roots) }),
    ...(authority && { 'headers-ca-certificates.crt': bundle([...roots, authority.cert.trim()]) }),
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
  return { ofHeaders: authority && { authority, roots }, files };
}
