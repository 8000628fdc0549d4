/** A registry on loopback with one image, for tests, which takes others: https://github.com/opencontainers/distribution-spec/blob/main/spec.md */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { type Header, pack } from 'tar-stream';

export interface TestRegistry extends AsyncDisposable {
  readonly host: string;
  /** Digests of the layers, lowest first. */
  readonly layers: readonly string[];
  /** Method and path of every request so far. */
  readonly requests: readonly string[];
  /** What it was told to let somebody in, right or wrong. */
  readonly credentials: readonly string[];
  /** Drops all that it has, as a collection of what no tag names may. */
  forget(): void;
}

/** What skopeo says when it has neither name nor password. */
const NOBODY = `Basic ${btoa(':')}`;

export type TestEntry = Partial<Header> & { readonly name: string; readonly text?: string };

/** How an image, or the registry, may be unlike others. */
interface Oddities {
  /** The image is in an index, behind one for another machine. */
  readonly index?: boolean;
  /** What the manifest says of the last layer, which is not in the registry when it is to be had elsewhere. */
  readonly foreign?: { readonly mediaType?: string; readonly urls?: readonly string[] };
  /** Resolves before the connection breaks that the last layer is half sent over; so many times, then no more. */
  readonly breaks?: { readonly times: number; readonly before: () => Promise<void> };
}

/** Serves `<host>/team/app:1`, whose layers are the given tar entries. With `authorization` only requests that carry it are answered. */
export async function startRegistry(
  layers: readonly (readonly TestEntry[])[],
  config: object,
  authorization?: string,
  { index = false, foreign, breaks }: Oddities = {},
): Promise<TestRegistry> {
  const blobs = new Map<string, Buffer>();
  const put = (mediaType: string, data: Buffer) => {
    const digest = `sha256:${createHash('sha256').update(data).digest('hex')}`;
    blobs.set(digest, data);
    return { mediaType, digest, size: data.length };
  };
  const tars = await Promise.all(layers.map(makeTar));
  const diffIds = tars.map((tar) => `sha256:${createHash('sha256').update(tar).digest('hex')}`);
  const image = { architecture: 'amd64', os: 'linux', config, rootfs: { type: 'layers', diff_ids: diffIds } };
  const descriptors = tars.map((tar) => put('application/vnd.oci.image.layer.v1.tar+gzip', gzipSync(tar)));
  const last = descriptors.at(-1)?.digest ?? '';
  if (foreign) {
    Object.assign(descriptors.at(-1) ?? {}, foreign);
    if (foreign.urls) blobs.delete(last);
  }
  const manifestType = 'application/vnd.oci.image.manifest.v1+json';
  const indexType = 'application/vnd.oci.image.index.v1+json';
  const manifest = put(
    manifestType,
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: manifestType,
        config: put('application/vnd.oci.image.config.v1+json', Buffer.from(JSON.stringify(image))),
        layers: descriptors,
      }),
    ),
  );
  const other = { mediaType: manifestType, digest: `sha256:${'0'.repeat(64)}`, size: 1 };
  const platform = { os: 'linux', architecture: 'amd64' };
  const list = put(
    indexType,
    Buffer.from(
      JSON.stringify({
        ...{ schemaVersion: 2, mediaType: indexType },
        manifests: [
          { ...other, platform: { os: 'linux', architecture: 's390x' } },
          { ...manifest, platform },
        ],
      }),
    ),
  );
  let breaksLeft = breaks?.times ?? 0;
  const requests: string[] = [];
  const credentials: string[] = [];
  /** Manifests by tag, of all repositories; one that was sent is here too. */
  const tags = new Map([['1', (index ? list : manifest).digest]]);
  /** The sending side: blobs in one piece or several, then the manifest. */
  const uploads = new Map<string, Buffer[]>();
  const take = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://localhost');
    const body = await buffer(request);
    if (request.method === 'PUT' && pathname.includes('/manifests/')) {
      const { digest } = put('', body);
      tags.set(pathname.split('/').at(-1) ?? '', digest);
      return void response.writeHead(201, { 'docker-content-digest': digest }).end();
    }
    const location = request.method === 'POST' ? `/v2/team/app/blobs/uploads/${uploads.size}` : pathname;
    const pieces = [...(uploads.get(location) ?? []), body];
    uploads.set(location, pieces);
    const all = Buffer.concat(pieces);
    const headers = { location, range: `0-${Math.max(all.length - 1, 0)}`, 'content-length': 0 };
    if (request.method !== 'PUT') return void response.writeHead(202, headers).end();
    const { digest } = put('', all);
    const isRight = digest === searchParams.get('digest');
    response.writeHead(isRight ? 201 : 400, { ...headers, 'docker-content-digest': digest }).end();
  };
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    const { authorization: told = NOBODY } = request.headers;
    if (told !== NOBODY) credentials.push(told);
    if (authorization !== undefined && request.headers.authorization !== authorization) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end();
      return;
    }
    if (request.url === '/v2/') return void response.end('{}');
    if (request.method !== 'GET' && request.method !== 'HEAD') return void take(request, response);
    const [, kind, name = ''] = /^\/v2\/team\/app\/(manifests|blobs)\/(.+)$/.exec(request.url ?? '') ?? [];
    const digest = (kind === 'manifests' && tags.get(name)) || name;
    const data = blobs.get(digest);
    if (!data) {
      response
        .writeHead(404)
        .end(JSON.stringify({ errors: [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' }] }));
      return;
    }
    const named = digest === list.digest ? indexType : manifestType;
    const type = kind === 'manifests' ? named : 'application/octet-stream';
    response.writeHead(200, {
      'content-type': type,
      'content-length': data.length,
      'docker-content-digest': digest,
    });
    if (digest !== last || request.method !== 'GET' || breaksLeft === 0) return void response.end(data);
    breaksLeft--;
    response.write(data.subarray(0, data.length / 2));
    void breaks?.before().then(() => response.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (typeof address !== 'object' || !address) throw new Error('no port');
  return {
    host: `127.0.0.1:${address.port}`,
    layers: descriptors.map(({ digest }) => digest),
    requests,
    credentials,
    forget: () => {
      blobs.clear();
      tags.clear();
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export async function makeTar(entries: readonly TestEntry[]): Promise<Buffer> {
  const archive = pack();
  for (const { text, ...header } of entries) archive.entry(header, text ?? '');
  archive.finalize();
  // A stream of buffers; the package's type says less.
  return buffer(archive as AsyncIterable<Buffer>);
}
