/**
 * Who may speak to whom: the server and the link of each sandbox show each other certificates of one authority, which is this server's alone. The link's is
 * for one Pod's name, and only the server's is one for clients, so what a sandbox could get hold of opens no other sandbox.
 */
import { createPrivateKey, randomBytes, X509Certificate } from 'node:crypto';
import {
  makeAuthority,
  makeClientCertificate,
  makeServerCertificate,
  type Pair,
  type Validity,
} from '../../transport/issue-certificate.ts';
import { madeOnce } from './engine-files.ts';
import type { LinkCredentials } from './pod-spec.ts';

const DAY_MS = 86_400_000;
const DAYS = 3650;

export class Credentials {
  /** Tells objects of this server from those of others in the namespace; 16 hexadecimal digits. */
  readonly serverId: string;
  /** What the server shows, and whom it believes. */
  readonly client: { readonly ca: string; readonly cert: string; readonly key: string };
  readonly #authority: Pair;

  /** Reads those of a data directory, or makes them: several servers that share it have the same. */
  static async open(file: string): Promise<Credentials> {
    const text = await madeOnce(file, async () => JSON.stringify(await makeIdentity()));
    return new Credentials(JSON.parse(text) as Identity); // written here and by nothing else
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

async function makeIdentity(): Promise<Identity> {
  const serverId = randomBytes(8).toString('hex');
  const authority = await makeAuthority(`Skerry ${serverId}`, validity(), undefined);
  return { serverId, authority, client: await makeClientCertificate(authority, validity()) };
}

/** As long as the authority: a sandbox's certificate goes with the sandbox. */
const validity = (): Validity => ({
  notBefore: new Date(Date.now() - DAY_MS),
  notAfter: new Date(Date.now() + DAYS * DAY_MS),
});
