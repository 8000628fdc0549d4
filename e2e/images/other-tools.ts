/**
 * `npm run test:registry`: our images in programs of others, and theirs here: a real registry (Debian's docker-registry), skopeo, podman, buildah, umoci, docker. None of these but skopeo is
 * needed for anything else, so `npm test` leaves this out; what is not on the machine is skipped, with what has it. Programs may be anywhere in PATH: `dpkg-deb -x` of their
 * packages into a directory is enough.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { z } from 'zod';
import { startDocker } from '../../bench/docker-contender.ts';
import { run } from '../../server/src/platform/command.ts';
import { findProgram } from '../../server/src/platform/find-program.ts';
import { runProgram } from '../support/program.ts';
import { definedEnvironment, projectRoot } from '../support/server.ts';
import { patient } from '../support/slowness.ts';
import { type DockerRegistry, startDockerRegistry } from './docker-registry.ts';

const PACKAGES = { docker: 'docker.io', dockerd: 'docker.io' } as const satisfies Record<string, string>;
const INDEX = 'application/vnd.oci.image.index.v1+json';
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
/** `me` and `secret`, as htpasswd(1) with bcrypt writes them. */
const LOGINS = 'me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n';
const LOGIN = ['--username', 'me', '--password-stdin'];
const manifestSchema = z.object({
  layers: z.array(z.object({ mediaType: z.string(), digest: z.string() })).min(1),
});

const home = mkdtempSync(join(tmpdir(), 'other-tools-'));
const dataDir = join(home, 'data');
const archive = join(home, 'image.tar');
/** What the image has in /tree, as `listing` tells it. */
const TREE = [
  '/tree',
  '/tree/hard',
  '/tree/kept',
  '/tree/kept/link -> ../one',
  '/tree/one',
  '/tree/opaque',
  '/tree/opaque/new',
  '/tree/setuid',
];
/** For a shell in the image, or in one with its files at the root `$1`. */
const LISTING =
  'cd "$1/" && find tree | sort | while read -r p; do if [ -h "$p" ]; then echo "/$p -> $(readlink "$p")"; else echo "/$p"; fi; done; stat -c "%a %h" tree/setuid tree/one';
const LISTED = `${TREE.join('\n')}\n4755 1\n644 2`;

const tried = (...args: string[]) =>
  runProgram([process.execPath, join(projectRoot, 'cli/bin/skerry.mjs'), ...args], {
    env: { PATH: process.env.PATH ?? '', HOME: home, SKERRY_DATA_DIR: dataDir },
    timeoutMs: patient(180_000),
    input: 'secret\n',
  });
async function skerry(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await tried(...args);
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

/** Whether the programs are there; if not, the test is skipped and says which package has them. */
function needs(t: TestContext, ...names: (keyof typeof PACKAGES | (string & {}))[]): boolean {
  const missing = names.filter((name) => !findProgram(name));
  if (missing.length === 0) return true;
  const packages = missing.map((name) => (PACKAGES as Record<string, string>)[name] ?? name);
  t.skip(`${missing.join(', ')} is not here: it is in Debian's package ${[...new Set(packages)].join(', ')}`);
  return false;
}

before(async () => {
  const context = join(home, 'context');
  mkdirSync(context);
  await run(['cp', '/bin/busybox', context]);
  const lines = [
    'FROM scratch',
    'COPY busybox /bin/busybox',
    'RUN ["/bin/busybox", "--install", "-s", "/bin"]',
    'ENV PATH=/bin WHO=us',
    'RUN mkdir -p /tree/opaque /tree/kept && echo old >/tree/opaque/old && echo gone >/tree/gone && echo one >/tree/one && ln -s ../one /tree/kept/link',
    'RUN rm -r /tree/gone /tree/opaque && mkdir /tree/opaque && echo new >/tree/opaque/new && ln /tree/one /tree/hard && cp /tree/one /tree/setuid && chmod 4755 /tree/setuid',
    'LABEL made=here',
    'STOPSIGNAL SIGQUIT',
    'VOLUME /data',
    'HEALTHCHECK --interval=1m CMD true',
    'CMD ["cat", "/tree/one"]',
  ];
  writeFileSync(join(context, 'Dockerfile'), lines.join('\n'));
  registry = await startDockerRegistry(join(home, 'registry'), LOGINS);
  host = registry?.host ?? 'registry.invalid';
  await skerry('up', '--port', '0', '--runtime', 'runc', '--insecure-registries', host);
  await skerry('image', 'build', context, '-t', 'made:1');
  await skerry('image', 'export', 'made:1', '-o', archive);
});
after(async () => {
  await registry?.[Symbol.asyncDispose]();
  await tried('down');
  rmSync(home, { recursive: true, force: true });
});
let registry: DockerRegistry | undefined;
let host: string;

describe('a real registry', () => {
  const name = (rest: string) => `${host}/team/app${rest}`;
  const creds = (side = '') => [`--${side}creds=me:secret`, `--${side}tls-verify=false`];
  const authorization = `Basic ${Buffer.from('me:secret').toString('base64')}`;
  const api = (path: string, init: RequestInit = {}, more: Record<string, string> = {}) =>
    fetch(`http://${host}/v2/team/app/${path}`, { ...init, headers: { authorization, ...more } });
  const manifestOf = async (tag: string) => {
    const response = await api(`manifests/${tag}`, {}, { accept: MANIFEST });
    const text = await response.text();
    const digest = response.headers.get('docker-content-digest') ?? '';
    return { ...manifestSchema.parse(JSON.parse(text)), digest, size: Buffer.byteLength(text) };
  };
  /** What a sandbox of the image finds in it. */
  const pulled = async (reference: string) => {
    await skerry('image', 'pull', reference, '--tag', 'pulled:1', ...LOGIN);
    return skerry('run', '--image', 'pulled:1', '--', 'sh', '-c', LISTING, 'sh', '');
  };

  test('a push and a pull with credentials, and neither without', async (t) => {
    if (!needs(t, 'docker-registry')) return;
    assert.match((await tried('image', 'push', 'made:1', name(':1'))).stderr, /access was denied/);
    await skerry('image', 'push', 'made:1', name(':1'), ...LOGIN);
    assert.match((await tried('image', 'pull', name(':1'))).stderr, /access was denied/);
    assert.equal(await pulled(name(':1')), LISTED);
    assert.match((await tried('image', 'pull', name(':2'), ...LOGIN)).stderr, /no such image/);
    const { stdout } = await run(['skopeo', 'inspect', '--config', ...creds(), `docker://${name(':1')}`]);
    const { config } = JSON.parse(stdout);
    assert.deepEqual(
      [config.Labels, config.StopSignal, config.Cmd],
      [{ made: 'here' }, 'SIGQUIT', ['cat', '/tree/one']],
    );
  });

  test('by digest, and another digest is not there', async (t) => {
    if (!needs(t, 'docker-registry')) return;
    const { digest } = await manifestOf('1');
    assert.equal(await pulled(name(`@${digest}`)), LISTED);
    const other = digest.replace(/.$/, (last) => (last === '0' ? '1' : '0'));
    assert.match((await tried('image', 'pull', name(`@${other}`), ...LOGIN)).stderr, /no such image/);
  });

  test('of an index for several machines the one for this machine, and none of an index without one', async (t) => {
    if (!needs(t, 'docker-registry')) return;
    const own = process.arch === 'x64' ? 'amd64' : process.arch;
    const { digest, size } = await manifestOf('1');
    const entry = (architecture: string) => ({
      ...{ mediaType: MANIFEST, digest, size },
      platform: { architecture, os: 'linux' },
    });
    const put = async (tag: string, architectures: readonly string[]) => {
      const index = { schemaVersion: 2, mediaType: INDEX, manifests: architectures.map(entry) };
      const init = { method: 'PUT', body: JSON.stringify(index) };
      const response = await api(`manifests/${tag}`, init, { 'content-type': INDEX });
      assert.equal(response.status, 201, await response.text());
    };
    await put('several', ['s390x', own, 'riscv64']);
    assert.equal(await pulled(name(':several')), LISTED);
    await put('others', ['s390x', 'riscv64']);
    const { code, stderr } = await tried('image', 'pull', name(':others'), ...LOGIN);
    assert.equal(code, 1);
    assert.match(stderr, /architecture|platform/i);
  });

  test('layers in gzip and in zstd', async (t) => {
    if (!needs(t, 'docker-registry')) return;
    assert.match((await manifestOf('1')).layers[0]?.mediaType ?? '', /gzip$/);
    const to = `docker://${name(':zstd')}`;
    const [plain, layout] = [`dir:${join(home, 'plain')}`, `oci:${join(home, 'zstd')}:1`];
    await run(['skopeo', 'copy', '--quiet', '--dest-decompress', `oci-archive:${archive}`, plain]);
    await run(['skopeo', 'copy', '--quiet', '--format=oci', '--dest-compress-format=zstd', plain, layout]);
    // Otherwise it takes the layers in gzip, which the registry has already.
    await run(['skopeo', 'copy', '--quiet', '--preserve-digests', ...creds('dest-'), layout, to]);
    assert.match((await manifestOf('zstd')).layers[0]?.mediaType ?? '', /zstd$/);
    assert.equal(await pulled(name(':zstd')), LISTED);
  });
});

describe('what is exported', () => {
  const listed = async (root: string) =>
    (await run(['/bin/busybox', 'sh', '-c', LISTING, 'sh', root])).stdout.trim();
  const storage = () => {
    const dir = mkdtempSync(join(home, 'storage-'));
    writeFileSync(join(dir, 'policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}');
    return {
      dir,
      flags: ['--root', join(dir, 'root'), '--runroot', join(dir, 'run'), '--storage-driver', 'vfs'],
    };
  };

  for (const kind of ['docker-archive', 'oci-archive']) {
    test(`buildah reads it as ${kind}`, async (t) => {
      if (!needs(t, 'buildah')) return;
      const { dir, flags } = storage();
      const policy = `--signature-policy=${join(dir, 'policy.json')}`;
      const buildah = async (...args: [string, ...string[]]) =>
        (await run(['buildah', ...flags, ...args], { env: definedEnvironment() })).stdout.trim();
      const container = await buildah('from', policy, '--pull-never', `${kind}:${archive}`).catch(() =>
        buildah('from', policy, `${kind}:${archive}`),
      );
      assert.equal(await listed(await buildah('mount', container)), LISTED);
      await buildah('umount', container);
    });
  }

  test('podman loads it under its name', async (t) => {
    if (!needs(t, 'podman')) return;
    const { dir, flags } = storage();
    const podman = async (...args: [string, ...string[]]) =>
      (
        await run(['podman', ...flags, ...args], { env: { ...definedEnvironment(), HOME: dir } })
      ).stdout.trim();
    await podman('load', '--quiet', `--signature-policy=${join(dir, 'policy.json')}`, '-i', archive);
    const [image] = JSON.parse(await podman('image', 'inspect', 'made:1'));
    assert.deepEqual([image.Config.Cmd, image.Config.StopSignal], [['cat', '/tree/one'], 'SIGQUIT']);
    assert.equal(await listed(await podman('image', 'mount', 'made:1')), LISTED);
    await podman('image', 'umount', 'made:1');
  });

  test('umoci unpacks it', async (t) => {
    if (!needs(t, 'umoci')) return;
    const layout = join(home, 'layout');
    await run(['skopeo', 'copy', '--quiet', `oci-archive:${archive}`, `oci:${layout}:1`]);
    const bundle = join(home, 'bundle');
    await run(['umoci', 'unpack', '--image', `${layout}:1`, bundle]);
    assert.equal(await listed(join(bundle, 'rootfs')), LISTED);
  });

  test('docker loads and runs it', async (t) => {
    if (!needs(t, 'docker', 'dockerd')) return;
    const scratch = mkdtempSync(join(home, 'docker-'));
    const tar = join(scratch, 'root.tar');
    await run(['tar', '-C', '/bin', '-cf', tar, '--transform=s,^,bin/,', 'busybox', 'sleep']);
    const docker = await startDocker({ tar, scratch });
    try {
      const loaded = (await run(docker.command('load', '--quiet', '-i', archive))).stdout;
      assert.match(loaded, /made:1/);
      const [{ Config }] = JSON.parse((await run(docker.command('image', 'inspect', 'made:1'))).stdout);
      assert.deepEqual(Config.Volumes, { '/data': {} });
      assert.deepEqual(Config.Healthcheck, { Test: ['CMD-SHELL', 'true'], Interval: 60e9 });
      const { stdout } = await run(
        docker.command('run', '--rm', '--network=none', 'made:1', 'sh', '-c', LISTING, 'sh', ''),
      );
      assert.equal(stdout.trim(), LISTED);
    } finally {
      await docker.close();
    }
  });
});
