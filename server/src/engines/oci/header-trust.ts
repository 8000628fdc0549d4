/** Whom the two ends of a connection with secret headers trust: what the egress proxy is told of it, and the file that sandboxes have. */
import { SkerryError } from '../../errors/skerry-error.ts';
import type { SecretHeaders, HeaderTrust as Trust } from '../../network/secret-headers.ts';
import type { Layout } from './layout.ts';
import { prepareHeaderBundle, trustedCertificates } from './shared-files.ts';

export interface HeaderTrustOptions {
  readonly layout: Layout;
  readonly extraCaFile: string;
  readonly secretHeaders: SecretHeaders | undefined;
}

export class HeaderTrust {
  readonly #options: HeaderTrustOptions;
  #trust: Promise<Trust> | undefined;
  #bundle: Promise<string> | undefined;

  constructor(options: HeaderTrustOptions) {
    this.#options = options;
  }

  /** For the proxy. @throws as `trustedCertificates` */
  trust(): Promise<Trust> {
    this.#trust ??= this.#find().catch((error: unknown) => {
      this.#trust = undefined;
      throw error;
    });
    return this.#trust;
  }

  /** Path of the file for sandboxes, made at the first call. @throws as `trust` */
  bundle(): Promise<string> {
    this.#bundle ??= this.#write().catch((error: unknown) => {
      this.#bundle = undefined;
      throw error;
    });
    return this.#bundle;
  }

  async #find(): Promise<Trust> {
    const { secretHeaders, extraCaFile } = this.#options;
    if (!secretHeaders) throw new SkerryError('internal', 'This engine was made without secret headers.');
    const [authority, roots] = await Promise.all([
      secretHeaders.authority(),
      trustedCertificates(extraCaFile),
    ]);
    return { authority, roots };
  }

  async #write(): Promise<string> {
    const { authority, roots } = await this.trust();
    return prepareHeaderBundle(this.#options.layout, roots, authority.cert);
  }
}
