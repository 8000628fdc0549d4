/** Whom the two ends of a connection with secret headers trust: what the egress proxy is told of it, and the file that sandboxes have. */
import { SkerryError } from '../../errors/skerry-error.ts';
import type { SecretHeaders, HeaderTrust as Trust } from '../../network/secret-headers.ts';
import { once } from '../../platform/once.ts';
import type { Layout } from './layout.ts';
import { prepareHeaderBundle, trustedCertificates } from './shared-files.ts';

export interface HeaderTrustOptions {
  readonly layout: Layout;
  readonly extraCaFile: string;
  readonly secretHeaders: SecretHeaders | undefined;
}

export class HeaderTrust {
  /** For the proxy. @throws as `trustedCertificates` */
  readonly trust: () => Promise<Trust>;
  /** Path of the file for sandboxes, made at the first call. @throws as `trust` */
  readonly bundle: () => Promise<string>;

  constructor(options: HeaderTrustOptions) {
    this.trust = once(() => find(options));
    this.bundle = once(async () => {
      const { authority, roots } = await this.trust();
      return prepareHeaderBundle(options.layout, roots, authority.cert);
    });
  }
}

async function find({ secretHeaders, extraCaFile }: HeaderTrustOptions): Promise<Trust> {
  if (!secretHeaders) throw new SkerryError('internal', 'This engine was made without secret headers.');
  const [authority, roots] = await Promise.all([secretHeaders.authority(), trustedCertificates(extraCaFile)]);
  return { authority, roots };
}
