/** Makes the certificates of an authority of our own and of the server under it. Keys are ECDSA on P-256, which every client takes. */
import { createPrivateKey, createPublicKey, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';

/** PEM certificate and PEM key (PKCS #8). */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** Loaded when there is something to make: a server that has its certificate starts without it. */
const x509 = () => import('./x509.ts');

/** A new key, or the one that is kept. */
async function keysFrom(
  pem: string | undefined,
): Promise<webcrypto.CryptoKeyPair & { readonly pem: string }> {
  if (pem === undefined) {
    const made = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', made.privateKey));
    const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
    return { ...made, pem: key.export({ type: 'pkcs8', format: 'pem' }).toString() };
  }
  const { subtle } = webcrypto;
  const privateDer = createPrivateKey(pem).export({ type: 'pkcs8', format: 'der' });
  const publicDer = createPublicKey(pem).export({ type: 'spki', format: 'der' });
  return {
    privateKey: await subtle.importKey('pkcs8', privateDer, algorithm, true, ['sign']),
    publicKey: await subtle.importKey('spki', publicDer, algorithm, true, ['verify']),
    pem,
  };
}

/** An authority that may issue certificates of servers and clients and nothing else. */
export async function makeAuthority(
  name: string,
  validity: Validity,
  keptKey: string | undefined,
): Promise<Pair> {
  const lib = await x509();
  const keys = await keysFrom(keptKey);
  const certificate = await lib.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [name] }],
    keys,
    ...validity,
    signingAlgorithm: algorithm,
    extensions: [
      new lib.BasicConstraintsExtension(true, 0, true),
      new lib.KeyUsagesExtension(lib.KeyUsageFlags.keyCertSign | lib.KeyUsageFlags.cRLSign, true),
      await lib.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: `${certificate.toString('pem')}\n`, key: keys.pem };
}

/** A server's certificate for names and addresses, followed by its authority's: a chain as TLS shows it. */
export const makeServerCertificate = (
  authority: Pair,
  names: readonly string[],
  validity: Validity,
  keptKey: string | undefined,
): Promise<Pair> => issue(authority, 'serverAuth', names, validity, keptKey);

/** The same that shows who a client is, and is none for a server. */
export const makeClientCertificate = (authority: Pair, validity: Validity): Promise<Pair> =>
  issue(authority, 'clientAuth', ['client.skerry'], validity, undefined);

async function issue(
  authority: Pair,
  use: 'serverAuth' | 'clientAuth',
  names: readonly string[],
  validity: Validity,
  keptKey: string | undefined,
): Promise<Pair> {
  const lib = await x509();
  const keys = await keysFrom(keptKey);
  const issuer = new lib.X509Certificate(authority.cert);
  const issuerKeys = await keysFrom(authority.key);
  const certificate = await lib.X509CertificateGenerator.create({
    subject: [{ CN: ['skerry'] }],
    issuer: issuer.subjectName,
    publicKey: keys.publicKey,
    signingKey: issuerKeys.privateKey,
    ...validity,
    signingAlgorithm: algorithm,
    extensions: [
      new lib.BasicConstraintsExtension(false, undefined, true),
      new lib.KeyUsagesExtension(lib.KeyUsageFlags.digitalSignature, true),
      new lib.ExtendedKeyUsageExtension([lib.ExtendedKeyUsage[use]]),
      new lib.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) ? 'ip' : 'dns', value })),
      ),
      await lib.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await lib.AuthorityKeyIdentifierExtension.create(issuerKeys.publicKey),
    ],
  });
  return { cert: `${certificate.toString('pem')}\n${authority.cert.trim()}\n`, key: keys.pem };
}
