import assert from 'node:assert/strict';
import { lstat, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { configSchema } from '../../config/config.ts';
import { Cleanup } from '../../platform/cleanup.ts';
import { run } from '../../platform/command.ts';
import { MachineRoom } from '../../platform/machine-room.ts';
import { openTestStore } from '../../store/testing/open-test-store.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { StepCache } from '../build/step-cache.ts';
import type { RegistryCredentials } from '../image.ts';
import { ImagePlaces } from '../image-places.ts';
import { LayerStore } from '../layer-store.ts';
import { packageSources } from '../packages/sources.ts';
import { Bases } from './bases.ts';
import { formatReference, parseReference } from './reference.ts';
import { Registry } from './registry.ts';
import { matchStandIn } from './stand-ins.ts';
import { startEcr } from './testing-ecr.ts';
import { startRegistry } from './testing-registry.ts';

let cleanup: Cleanup;
let now = 0;
beforeEach(() => {
  cleanup = new Cleanup();
});
afterEach(() => cleanup.run());

interface Settings {
  readonly insecure?: readonly string[];
  readonly mirrors?: readonly string[];
  readonly ecrEndpoint?: string;
}

async function openBases({ insecure = [], mirrors = [], ecrEndpoint = '' }: Settings) {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-bases-'));
  cleanup.add('directory', () => rm(directory, { recursive: true, force: true }));
  const clock = () => now;
  const opened = openTestStore(directory);
  cleanup.add('store', () => opened.close());
  const store = opened.images;
  const layers = new LayerStore({
    ...{ places: new ImagePlaces(directory), store, logger: createLogger('silent'), now: clock },
    room: new MachineRoom(directory),
  });
  const bases = new Bases({
    store,
    layers,
    steps: new StepCache(store, layers, clock),
    registry: new Registry({
      insecure,
      mirrors,
      allowed: [],
      maxImageBytes: 1 << 30,
      room: layers.room,
      timeoutMs: 5000,
      ecrEndpoint,
      clock,
    }),
    maxLayerBytes: 1 << 30,
    debianMirror: configSchema.parse({}).debianMirror,
    packages: packageSources(configSchema.parse({}), process.env),
    timeoutMs: 20_000,
    clock,
  });
  const said: string[] = [];
  const resolve = (reference: string, credentials?: RegistryCredentials, registry?: string) =>
    bases.resolve({
      reference,
      credentials: credentials && {
        registry: registry ?? parseReference(reference).registry,
        credentials,
      },
      signal: AbortSignal.timeout(120_000),
      say: (line) => said.push(line),
      onOutput: () => {},
      onMiss: () => {},
    });
  return { resolve, said, layers };
}

test('references get their defaults, and what no registry could hold is refused', () => {
  const cases: [text: string, full: string][] = [
    ['python', 'docker.io/library/python:latest'],
    ['python:3.11-slim', 'docker.io/library/python:3.11-slim'],
    ['index.docker.io/library/python:3', 'docker.io/library/python:3'],
    ['mambaorg/micromamba:1.5.8', 'docker.io/mambaorg/micromamba:1.5.8'],
    ['localhost:5000/a/b', 'localhost:5000/a/b:latest'],
    [`ghcr.io/astral-sh/uv:1@sha256:${'a'.repeat(64)}`, `ghcr.io/astral-sh/uv@sha256:${'a'.repeat(64)}`],
  ];
  for (const [text, full] of cases) assert.equal(formatReference(parseReference(text)), full);
  for (const text of ['', '-x', 'A/B', 'a:b c', 'a@sha256:1', '--help', 'a/../b', 'x\ny', 'a'.repeat(600)]) {
    assert.throws(() => parseReference(text), { code: 'invalid-argument' }, text);
  }
});

test('tags find what stands in for them, with the suite they name where it can be', () => {
  const found = (text: string) => {
    const match = matchStandIn(parseReference(text), 'x64');
    if (match.kind !== 'stand-in') return match.kind;
    const version = Object.entries(match.config.env ?? {}).find(([name]) => name.endsWith('_VERSION'))?.[1];
    return [match.debian?.key ?? 'nothing', ...(version === undefined ? [] : [version])].join(' ');
  };
  const cases: [text: string, expected: string][] = [
    ['python:3.11-slim-bookworm', 'debian:bookworm+python'],
    ['python:3.11-slim-trixie', 'debian:trixie+runtime 3.11.11'],
    ['python:3.11.8-slim-bookworm', 'debian:bookworm+python'],
    ['python:3.11.11-slim-bookworm', 'debian:bookworm+runtime 3.11.11'],
    ['python:3.9', 'debian:bullseye+python'],
    ['python:3.9.22-slim-bookworm', 'debian:bullseye+python'],
    ['python:3.13.3-slim-bookworm', 'debian:trixie+python'],
    ['python:3-slim', 'debian:trixie+python'],
    ['python', 'debian:trixie+python'],
    ['python:3-slim-bookworm', 'debian:bookworm+python'],
    ['python:slim-bookworm', 'debian:bookworm+python'],
    ['python:3.10-slim', 'debian:trixie+runtime 3.10.16'],
    ['python:3.12-slim', 'debian:trixie+runtime 3.12.3'],
    ['python:3.12.10-slim-bookworm', 'debian:bookworm+runtime 3.12.3'],
    ['python:3.12-slim-bullseye', 'debian:bullseye+runtime 3.12.3'],
    ['python:3.14-slim', 'debian:trixie+runtime 3.14.6'],
    ['python:3.15-slim', 'unavailable'],
    ['python:3.8', 'unavailable'],
    ['python:3.11-alpine', 'unavailable'],
    ['python:3.11-slim-slim', 'unavailable'],
    ['debian:12.5-slim', 'debian:bookworm'],
    ['debian:stable-slim', 'debian:trixie'],
    ['debian:sid', 'unavailable'],
    ['node:22-slim', 'debian:bookworm+runtime'],
    ['node:22.9.0-trixie-slim', 'debian:trixie+runtime'],
    ['node:22-alpine', 'unavailable'],
    ['golang:1.23', 'debian:bookworm+runtime 1.23.12'],
    ['golang', 'debian:bookworm+runtime 1.27.4'],
    ['golang:1.23.4-bookworm', 'debian:bookworm+runtime 1.23.12'],
    ['golang:1.20', 'unavailable'],
    ['ghcr.io/astral-sh/uv:latest', 'nothing'],
    ['ghcr.io/astral-sh/uv:0.9.9', 'nothing'],
    ['ghcr.io/astral-sh/uv:0.9-alpine', 'unavailable'],
    ['ubuntu:24.04', 'none'],
    ['ghcr.io/x/python:3.11', 'none'],
    [`python@sha256:${'a'.repeat(64)}`, 'none'],
  ];
  for (const [text, expected] of cases) assert.equal(found(text), expected, text);
  const why = matchStandIn(parseReference('python:3.15-slim'), 'x64');
  assert.match(
    why.kind === 'unavailable' ? why.why : '',
    /these work: 3\.9, 3\.10, 3\.11, 3\.12, 3\.13, 3\.14$/,
  );
  assert.equal(matchStandIn(parseReference('python:3.12-slim'), undefined).kind, 'unavailable');
});

test('an image of a registry: layers, whiteouts, configuration, and only one fetch', async () => {
  await using registry = await startRegistry(
    [
      [
        { name: 'etc/a', text: 'a' },
        { name: 'etc/b', text: 'b' },
      ],
      [{ name: 'etc/.wh.a' }, { name: 'bin/tool', text: '#!', mode: 0o4755, uid: 5 }],
    ],
    { Env: ['A=b=c'], Cmd: ['x'], WorkingDir: '/w', ExposedPorts: { '80/tcp': {} } },
  );
  const { resolve, layers, said } = await openBases({ insecure: [registry.host] });
  const image = await resolve(`${registry.host}/team/app:1`);
  assert.deepEqual(
    [image.config.env, image.config.cmd, image.config.workdir, image.config.exposedPorts],
    [{ A: 'b=c' }, ['x'], '/w', [80]],
  );
  const [first = '', second = ''] = image.layers.map((layer) => layers.path(layer));
  assert.deepEqual(await readdir(join(first, 'etc')), ['a', 'b']);
  assert.ok((await lstat(join(second, 'etc/a'))).isCharacterDevice());
  const tool = await lstat(join(second, 'bin/tool'));
  assert.deepEqual([tool.mode & 0o7777, tool.uid], [0o4755, 5]);
  assert.match(said.join('\n'), /Fetched .*: 2 layers/);
  const before = registry.requests.length;
  assert.equal((await resolve(`${registry.host}/team/app:1`)).id, image.id);
  assert.equal(registry.requests.length, before);
});

test('credentials: needed, used, and a private image is not given to others', async () => {
  const authorization = `Basic ${Buffer.from('me:secret').toString('base64')}`;
  await using registry = await startRegistry([[{ name: 'f', text: '' }]], {}, authorization);
  const { resolve } = await openBases({ insecure: [registry.host] });
  const name = `${registry.host}/team/app:1`;
  const denied = /access was denied.*`skerry image pull \S+ --username NAME --password-stdin/;
  await assert.rejects(resolve(name), { code: 'image-build-failed', message: denied });
  await resolve(name, { username: 'me', password: 'secret' });
  await assert.rejects(resolve(name), /access was denied/);
});

test('credentials are told to no other registry, not even to another port of theirs', async () => {
  await using registry = await startRegistry([[{ name: 'f', text: '' }]], {}, 'Basic never');
  const { resolve } = await openBases({ insecure: [registry.host] });
  const port = Number(registry.host.split(':')[1]);
  for (const other of ['registry.example', `127.0.0.1:${port === 1 ? 2 : 1}`, '127.0.0.1']) {
    await assert.rejects(
      resolve(`${registry.host}/team/app:1`, { username: 'me', password: 'secret' }, other),
      {
        message: new RegExp(
          `access was denied.*secret is for ${other}.*\`skerry image pull ${registry.host}/`,
        ),
      },
    );
  }
  assert.deepEqual(registry.credentials, []);
  assert.notEqual(registry.requests.length, 0);
});

test('a key of AWS: the password is fetched, and told to no other registry', async () => {
  const key = { accessKeyId: 'AKIA1', secretAccessKey: 'k', region: 'eu-west-1' };
  await using aws = await startEcr(key, 'of today');
  const authorization = `Basic ${Buffer.from('AWS:of today').toString('base64')}`;
  await using registry = await startRegistry([[{ name: 'f', text: '' }]], {}, authorization);
  const { resolve } = await openBases({ insecure: [registry.host], ecrEndpoint: aws.endpoint });
  const name = `${registry.host}/team/app:1`;
  const image = await resolve(name, key);
  const before = registry.requests.length;
  // A key that lasts for hours is another one each time.
  assert.equal((await resolve(name, { ...key, sessionToken: 'later' })).id, image.id);
  assert.equal(registry.requests.length, before);
  await assert.rejects(resolve(name, { ...key, secretAccessKey: 'another' }), /AWS gives no password for it/);
  await assert.rejects(resolve('registry.example/team/app:1', key), /it is no private registry of AWS/);
});

test('an image that is not there, and a registry out of reach, which is not asked again for a while', async () => {
  await using registry = await startRegistry([], {});
  const gone = await startRegistry([], {});
  await gone[Symbol.asyncDispose]();
  const { resolve } = await openBases({ insecure: [registry.host, gone.host] });
  await assert.rejects(resolve(`${registry.host}/team/app:2`), /it has no such image/);
  const name = `${gone.host}/team/app:1`;
  await assert.rejects(resolve(name), /cannot be reached/);
  await assert.rejects(resolve(name), /could not be reached a short time ago/);
  now += 10 * 60_000;
  await assert.rejects(resolve(name), /cannot be reached/);
});

// Of the newest Debian; the images of the end-to-end tests are of the one before.
test('python from Debian packages has what the official image has', async () => {
  await using registry = await startRegistry([], {});
  const { resolve, said, layers } = await openBases({ insecure: [registry.host], mirrors: [registry.host] });
  const image = await resolve('python:3.13.1-slim-trixie');
  assert.match(said.join('\n'), /names Python 3\.13\.1; Debian's current 3\.13 is used/);
  const [layer] = image.layers;
  assert.ok(layer);
  const root = layers.path(layer);
  const env = image.config.env;
  assert.deepEqual([image.config.cmd, env.LANG], [['python3'], 'C.UTF-8']);
  assert.match(env.PYTHON_VERSION ?? '', /^3\.13\.\d+$/);
  for (const name of ['python', 'python3', 'python3.13', 'pip', 'pip3', 'pip3.13'])
    await lstat(join(root, 'usr/local/bin', name));
  // The files are Debian's own, as trusted as the bootstrap that just ran their scripts.
  const inside = (...argv: string[]) => run(['chroot', root, ...argv], { env });
  assert.match((await inside('pip', '--version')).stdout, /\/usr\/local\/lib\/python3\.13/);
  const check =
    'import ssl, sqlite3, ctypes, lzma, venv, sysconfig, os; print(os.path.exists(sysconfig.get_config_h_filename()))';
  assert.equal((await inside('python', '-c', check)).stdout, 'True\n');
  assert.deepEqual(
    (await readdir(join(root, 'usr/lib/python3.13'))).filter((name) => name === 'EXTERNALLY-MANAGED'),
    [],
  );
  assert.deepEqual(await readdir(join(root, 'dev')), []);
  assert.match(
    await readFile(join(root, 'etc/apt/sources.list.d/debian.sources'), 'utf8'),
    /Suites: trixie\n/,
  );
  // Another name of the same base shares its layer.
  assert.deepEqual((await resolve('python:3.13-slim-trixie')).layers, image.layers);
});
