/**
 * Who may speak to whom: the server and the link of each sandbox show each other certificates of one authority, which is this server's alone. The link's is
 * for one Pod's name, and only the server's is one for clients, so what a sandbox could get hold of opens no other sandbox.
 */
import { createPrivateKey, randomBytes, X509Certificate } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '../../platform/replace-file.ts';
import {
  makeAuthority,
  makeClientCertificate,
  makeServerCertificate,
  type Pair,
  type Validity,
} from '../../transport/issue-certificate.ts';
import type { LinkCredentials } from './pod-spec.ts';

const DAY_MS = 86_400_000;
const DAYS = 3650;

export class Credentials {
  /** Tells objects of this server from those of others in the namespace; 16 hexadecimal digits. */
  readonly serverId: string;
  /** What the server shows, and whom it believes. */
  readonly client: { readonly ca: string; readonly cert: string; readonly key: string };
  readonly #authority: Pair;

  /** Reads those of a data directory, or makes them. */
  static async open(directory: string): Promise<Credentials> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const file = join(directory, 'identity.json');
    const known = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      return undefined;
    });
    // Written below and by nothing else.
    if (known !== undefined) return new Credentials(JSON.parse(known) as Identity);
    const serverId = randomBytes(8).toString('hex');
    const authority = await makeAuthority(`Skerry ${serverId}`, validity(), undefined);
    const client = await makeClientCertificate(authority, validity());
    const identity: Identity = { serverId, authority, client };
    await replaceFile(file, JSON.stringify(identity));
    return new Credentials(identity);
  }

  private constructor({ serverId, authority, client }: Identity) {
    this.serverId = serverId;
    this.#authority = authority;
    this.client = { ca: authority.cert, cert: client.cert, key: client.key };
  }

  /** New ones for a link. */
  async forLink(pod: string): Promise<LinkCredentials> {
    const { cert, key } = await makeServerCertificate(
      this.#authority,
      [linkName(pod)],
      validity(),
      undefined,
    );
    return {
      certificate: new X509Certificate(cert).raw,
      authority: new X509Certificate(this.#authority.cert).raw,
      key: createPrivateKey(key).export({ type: 'pkcs8', format: 'der' }),
    };
  }
}

/** What the certificate of a Pod's link is for. */
export const linkName = (pod: string): string => `${pod}.sandbox.skerry`;

interface Identity {
  readonly serverId: string;
  readonly authority: Pair;
  readonly client: Pair;
}

/** As long as the authority: a sandbox's certificate goes with the sandbox. */
const validity = (): Validity => ({
  notBefore: new Date(Date.now() - DAY_MS),
  notAfter: new Date(Date.now() + DAYS * DAY_MS),
});
