/** Attempts of a registry, which whoever names an image may run, against the machine that fetches from it. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseReference } from '../../../server/src/images/bases/reference.ts';
import { Registry, type RegistryOptions } from '../../../server/src/images/bases/registry.ts';
import { startRegistry, type TestRegistry } from '../../../server/src/images/bases/testing-registry.ts';
import { DEFINITION, openImages, resultOf } from '../../../server/src/images/testing/images.ts';
import { MachineRoom } from '../../../server/src/platform/machine-room.ts';
import { makeAuthority, makeServerCertificate } from '../../../server/src/transport/issue-certificate.ts';
import type { ServerAttack } from '../support/server-attack.ts';

const MIB = 1 << 20;
/** What is sent where nothing ends it before: an endless one would take a test's own machine. */
const ENDLESS = 64 * MIB;
/** What is sent at once, each time the event loop comes round in which the registry is looked at as well. */
const PIECE = randomBytes(MIB); // skopeo compresses what is not
const PAUSE_MS = 20;
const DIGEST = `sha256:${'ab'.repeat(32)}`;
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';

const attack = (
  name: string,
  threat: ServerAttack['threat'],
  says: RegExp,
  by: string,
  attempt: ServerAttack['attempt'],
): ServerAttack => ({ name, threat, says, by, attempt });

/** A registry without TLS, which the operator named, and the bytes it sent. */
async function withRegistry<T>(
  listener: (send: (response: Parameters<RequestListener>[1]) => Promise<void>) => RequestListener,
  use: (host: string, sent: () => number) => Promise<T>,
): Promise<T> {
  let sent = 0;
  const send = async (response: Parameters<RequestListener>[1]) => {
    response.on('error', () => {});
    for (; sent < ENDLESS && !response.destroyed; sent += PIECE.length) {
      response.write(PIECE);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    response.end();
  };
  const server = createServer(listener(send));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await use(`127.0.0.1:${(server.address() as AddressInfo).port}`, () => sent); // it listens on a port
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** @returns why there is no image */
async function pull(reference: string, options: Partial<Omit<RegistryOptions, 'room'>>): Promise<string> {
  const workspace = await mkdtemp(join(tmpdir(), 'skerry-registry-attack-'));
  try {
    const registry = new Registry({
      ...{ mirrors: [], insecure: [], allowed: [], maxImageBytes: 2 ** 40 },
      ...{ timeoutMs: 30_000, clock: Date.now, room: new MachineRoom(workspace) },
      ...options,
    });
    const signal = AbortSignal.timeout(120_000);
    const result = await registry.pull(parseReference(reference), undefined, workspace, signal);
    return result.kind === 'failed' ? result.reasons.join() : 'the image is there';
  } finally {
    await rm(workspace, { recursive: true, force: true });
  }
}

const config = JSON.stringify({
  architecture: 'amd64',
  os: 'linux',
  rootfs: { type: 'layers', diff_ids: [DIGEST] },
});
const configDigest = `sha256:${createHash('sha256').update(config).digest('hex')}`;
const manifest = JSON.stringify({
  schemaVersion: 2,
  mediaType: MANIFEST_TYPE,
  config: {
    mediaType: 'application/vnd.oci.image.config.v1+json',
    digest: configDigest,
    size: config.length,
  },
  layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: DIGEST, size: ENDLESS }],
});

const endless =
  (part: 'manifests' | 'blobs') =>
  (send: (response: Parameters<RequestListener>[1]) => Promise<void>): RequestListener =>
  (request, response) => {
    if (request.url === '/v2/') return void response.end('{}');
    response.setHeader('content-type', MANIFEST_TYPE);
    if (request.url?.endsWith(configDigest)) return void response.end(config);
    if (request.url?.includes(`/${part}/`)) return void send(response);
    response.end(manifest);
  };

export const registryAttacks: readonly ServerAttack[] = [
  attack(
    'fill the disk by a layer that never ends',
    'images',
    /takes more than 8 MiB/,
    'an image may take so much, and what is sent of it is looked at meanwhile',
    (checked) =>
      withRegistry(endless('blobs'), async (host, sent) => {
        const reason = await pull(`${host}/team/app:1`, {
          insecure: [host],
          ...(checked && { maxImageBytes: 8 * MIB }),
        });
        if (sent() < ENDLESS) throw new Error(reason);
        return 'all that it sent was taken';
      }),
  ),
  attack(
    'fill the memory by a manifest that never ends',
    'images',
    /exceed|too large|beyond|limit/i,
    'skopeo reads 4 MiB of one',
    (checked) =>
      withRegistry(endless('manifests'), async (host, sent) => {
        const url = `${host}/team/app:1`;
        const reason = checked
          ? await pull(url, { insecure: [host] })
          : await fetch(`http://${host}/v2/team/app/manifests/1`).then((answer) => answer.text());
        if (sent() < ENDLESS) throw new Error(reason);
        return 'all that it sent was taken';
      }),
  ),
  attack(
    'reach a program of the machine by a redirect of a registry',
    'network',
    /is not a public address/,
    'names are looked up, and addresses judged, for each connection that is made for it',
    (checked) => throughRedirect(checked),
  ),
  attack(
    'be told the password of another registry by a Dockerfile that names both',
    'images',
    /is not told it/,
    'credentials are for the registry of the first FROM, which who gives them names',
    (checked) => besideAnother(checked),
  ),
];

/** Asks for a password, in each place where a Dockerfile names an image. */
async function besideAnother(checked: boolean): Promise<string> {
  await using done = new AsyncDisposableStack();
  const start = async (): Promise<TestRegistry> =>
    done.use(await startRegistry([[{ name: 'f', text: '' }]], {}, `Basic ${btoa('me:secret')}`));
  const [given, thief] = [await start(), await start()];
  const { images } = await openImages({ after: (end) => done.defer(end) }, Date.now, {
    ...{ insecureRegistries: [given.host, thief.host], registryTimeoutMs: 30_000 },
  });
  const stolen = `${thief.host}/team/app:1`;
  const first = checked ? `${given.host}/team/app:1` : stolen;
  let reason = '';
  for (const lines of [
    [`COPY --from=${stolen} /f /g`],
    [`RUN --mount=type=bind,from=${stolen},target=/m true`],
    [`FROM ${stolen}`],
  ]) {
    const { id, result } = await images.getOrBuild({
      ...{ ...DEFINITION, dockerfileLines: [`FROM ${first}`, ...lines] },
      registryCredentials: { username: 'me', password: 'secret' },
    });
    const ended = result ?? (await resultOf(images, id));
    if (thief.credentials.length > 0) return 'it was told';
    if (ended?.kind !== 'failure') throw new Error(`the build was a ${ended?.kind}`);
    reason = ended.message;
  }
  throw new Error(
    /The registry secret.* told it/
      .exec(reason)?.[0]
      .replaceAll(given.host, 'one')
      .replaceAll(thief.host, 'another') ?? reason,
  );
}

/** A registry that the operator lets images come from leads to another one. */
async function throughRedirect(checked: boolean): Promise<string> {
  await using done = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'skerry-redirect-attack-'));
  done.defer(() => rm(directory, { recursive: true, force: true }));
  const day = 86_400_000;
  const validity = { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + day) };
  const authority = await makeAuthority('test', validity, undefined);
  await writeFile(join(directory, 'ca.pem'), authority.cert);
  const { SSL_CERT_FILE } = process.env;
  process.env.SSL_CERT_FILE = join(directory, 'ca.pem');
  done.defer(() => {
    if (SSL_CERT_FILE === undefined) delete process.env.SSL_CERT_FILE;
    else process.env.SSL_CERT_FILE = SSL_CERT_FILE;
  });
  const serve = async (name: string, listener: RequestListener): Promise<number> => {
    const pair = await makeServerCertificate(authority, [name], validity, undefined);
    const server = createTlsServer(pair, listener);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    done.defer(() => {
      server.closeAllConnections();
      server.close();
    });
    return (server.address() as AddressInfo).port; // it listens on one
  };
  let reached = false;
  const inner = await serve('inner.test', (_, response) => {
    reached = true;
    response.end('secret');
  });
  const outer = await serve('outer.test', (request, response) => {
    if (request.url === '/v2/') response.end('{}');
    else response.writeHead(307, { location: `https://inner.test:${inner}/` }).end();
  });
  const lookup = async () => [{ address: '127.0.0.1', family: 4 }];
  const allowed = checked ? ['outer.test'] : ['outer.test', '127.0.0.0/8'];
  const reason = await pull(`outer.test:${outer}/team/app:1`, { allowed, lookup });
  if (!reached) throw new Error(reason);
  return 'it was asked';
}
