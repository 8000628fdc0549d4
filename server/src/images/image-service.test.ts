// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are Dockerfile variables
/** Builds on the real engine (runc) with a busybox base, so that only the bootstrap's own test needs a Debian mirror. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { enginePrograms, treesBinaryPath } from '../agent/agent-binary.ts';
import { createOciEngine } from '../engines/oci/engine.ts';
import { createBusyboxLayer } from '../engines/testing/busybox-layer.ts';
import { TEST_ENGINE_CONFIG } from '../engines/testing/engine-config.ts';
import type { ImageId } from '../ids.ts';
import { InstanceService } from '../instances/instance-service.ts';
import { Cleanup } from '../platform/cleanup.ts';
import { run } from '../platform/command.ts';
import { unlessAborted } from '../platform/wait.ts';
import { SandboxContent } from '../sandboxes/content-places.ts';
import { checkpointsDir } from '../sandboxes/memory-snapshots.ts';
import type { Store } from '../store/store.ts';
import { openTestStore } from '../store/testing/open-test-store.ts';
import { createLogger, type Logger } from '../telemetry/logger.ts';
import { type BuildResult, emptyImageConfig, type ImageDefinition } from './image.ts';
import { ImagePlaces } from './image-places.ts';
import { ImageService, type ImageServiceOptions } from './image-service.ts';
import { DEFINITION, NO_VOLUMES, TEST_IMAGE_CONFIG } from './testing/images.ts';

const logger = createLogger('silent');
const cleanup = new Cleanup();
let dataDir: string;
let store: Store;
let instances: InstanceService;
let images: ImageService;
let base: ImageId;

const open = (
  overrides: { instances?: ImageServiceOptions['instances']; logger?: Logger } = {},
  limits: Partial<ImageServiceOptions['config']> = {},
) =>
  new ImageService({
    repository: store.images,
    uses: store.imageUses,
    holdFiles: () => () => {},
    instances,
    volumes: NO_VOLUMES,
    dataDir,
    treesBinaryPath: treesBinaryPath(),
    config: {
      ...{ ...TEST_IMAGE_CONFIG, buildRuntime: 'runc', debianMirror: 'http://127.0.0.1:9/debian' },
      ...{ privateRegistries: ['127.0.0.0/8'], registryTimeoutMs: 10_000 },
      ...limits,
    },
    caEnvironment: {},
    logger,
    clock: Date.now,
    ...overrides,
  });

before(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'skerry-images-'));
  cleanup.add('data directory', () => rm(dataDir, { recursive: true, force: true }));
  store = openTestStore(dataDir);
  cleanup.add('store', () => store.close());
  const engine = createOciEngine({
    config: { ...TEST_ENGINE_CONFIG, runtime: 'runc', nameservers: ['127.0.0.1'], runscPath: '' },
    dataDir,
    content: new SandboxContent(ImagePlaces.in(dataDir), join(dataDir, 'v'), checkpointsDir(dataDir)),
    ...enginePrograms(),
    logger,
    networkPoolSize: 0,
    diskPoolSize: 0,
  });
  cleanup.add('engine', async () => {
    await engine.close();
    await engine.remove();
  });
  await engine.open();
  instances = new InstanceService({ engine, logger });
  cleanup.add('instances', () => instances.close());
  images = open();
  cleanup.add('images', () => images.close());
  const scratch = await build({ lines: ['FROM scratch'] });
  const root = await images.addLayer(
    images.get(scratch.id),
    async ({ directory }) => {
      await createBusyboxLayer(directory);
    },
    { config: { ...emptyImageConfig, env: { PATH: '/bin' } } },
  );
  base = root.id;
});
after(() => cleanup.run());

interface Request extends Partial<ImageDefinition> {
  readonly lines: readonly string[];
}

const define = ({ lines, ...rest }: Request): ImageDefinition => ({
  ...DEFINITION,
  dockerfileLines: lines,
  baseImages: base === undefined ? new Map() : new Map([['base', base]]),
  ...rest,
});

async function follow(
  service: ImageService,
  id: ImageId,
): Promise<{ log: string; result: BuildResult | undefined }> {
  let log = '';
  for await (const event of service.follow(id, 0, AbortSignal.timeout(240_000))) {
    if (event.kind === 'result') return { log, result: event.result };
    log += event.entry.text;
  }
  return { log, result: undefined };
}

async function build(request: Request) {
  const { id, result: early } = await images.getOrBuild(define(request));
  return { id, early, ...(await follow(images, id)) };
}

/** Builds and expects success; what the last RUN printed is in the log. */
async function succeed(request: Request) {
  const built = await build(request);
  assert.deepEqual(built.result, { kind: 'success' }, built.log);
  return built;
}

async function failure(request: Request): Promise<{ message: string; log: string }> {
  const { result, log } = await build(request);
  assert.ok(result?.kind === 'failure', `expected a failure, got ${JSON.stringify(result)}:\n${log}`);
  return { message: result.message, log };
}

test('RUN keeps its files, sees ENV, ARG, USER and WORKDIR, and is cached', async () => {
  const lines = [
    'FROM base',
    'ARG WHO=world',
    `ENV GREETING='hello there' \\`,
    '    TWICE="$WHO $WHO"',
    "WORKDIR '/work dir'",
    'RUN echo "$GREETING $TWICE" > out && pwd',
    'USER user',
    'RUN cat out && id -u && [ "$HOME" = / ]',
    'CMD ["sleep", "1"]',
  ];
  const first = await succeed({ lines, buildArgs: { WHO: 'you' } });
  assert.equal(first.early, undefined);
  assert.match(first.log, /Step 4\/8 : WORKDIR '\/work dir'\n/);
  assert.match(first.log, /\n\/work dir\n/);
  assert.match(first.log, /hello there you you\n1000\n/);
  const { config, layers } = images.get(first.id);
  assert.deepEqual([config.workdir, config.user, config.cmd], ['/work dir', 'user', ['sleep', '1']]);
  assert.equal(layers.length, images.get(base).layers.length + 2);

  const again = await images.getOrBuild(define({ lines, buildArgs: { WHO: 'you' } }));
  assert.deepEqual(again, { id: first.id, result: { kind: 'success' } });
  const other = await build({ lines: [...lines, 'LABEL a=b'], buildArgs: { WHO: 'you' } });
  assert.deepEqual(other.early, { kind: 'success' });
  assert.equal(other.log.match(/Using cache/g)?.length, 3);
  assert.deepEqual(images.get(other.id).layers, layers);
});

test('a changed ENV, ARG or context file builds again; a changed secret value does not', async () => {
  const file = (text: string) => ({ path: '/f', content: { bytes: Buffer.from(text) }, mode: 0o644 });
  const request = (env: string, text: string, secret: string): Request => ({
    lines: [
      'FROM base',
      `ENV A=${env}`,
      'COPY /f /f',
      'RUN cat /f && test -n "$TOKEN" && echo "$TOKEN" | tr a-z A-Z | tee /out',
    ],
    contextFiles: [file(text)],
    secretEnv: { TOKEN: secret },
  });
  const first = await succeed(request('1', 'one', 'secret-one'));
  assert.match(first.log, /SECRET-ONE/);
  assert.equal((await images.getOrBuild(define(request('1', 'one', 'secret-two')))).id, first.id);
  for (const changed of [request('2', 'one', 's'), request('1', 'two', 's')]) {
    const second = await succeed(changed);
    assert.notDeepEqual(images.get(second.id).layers, images.get(first.id).layers);
  }
});

test('secrets reach RUN but neither the log nor the image', async () => {
  const value = 'hunter2-and-more';
  const built = await succeed({
    lines: ['FROM base', 'RUN --mount=type=secret,id=KEY echo "$KEY"; cat /run/secrets/KEY | wc -c'],
    secretEnv: { KEY: value },
  });
  assert.doesNotMatch(built.log, /hunter2/);
  assert.match(built.log, new RegExp(`\\*\\*\\*\\n${value.length}\n`));
  assert.equal(JSON.stringify(images.get(built.id).config).includes('hunter2'), false);
});

test('secrets are kept out of the log though they have lines and are written in pieces', async () => {
  const key = '-----BEGIN KEY-----\nabcd1234efgh\n-----END KEY-----\n';
  const lines = [
    'FROM base',
    'RUN echo "$KEY"; echo "$KEY" | sed "s/^/> /" >&2; printf "[$(echo $PASSWORD | cut -c1-7)"; sleep 0.6; echo "$(echo $PASSWORD | cut -c8-)]"',
  ];
  const built = await succeed({ lines, secretEnv: { KEY: key, PASSWORD: 'hunter2-and-more' } });
  assert.doesNotMatch(built.log, /BEGIN KEY|abcd|END KEY|hunter2|and-more/);
  assert.match(built.log, /\n\*\*\*\n/);
  assert.match(built.log, /> \*\*\*\n> \*\*\*\n/);
  assert.match(built.log, /\[\*\*\*\]\n/);
});

test('RUN mounts show files of the context, a stage or an image for the length of the step', async () => {
  const file = (path: string, text = `${path}\n`) => ({
    ...{ path, content: { bytes: Buffer.from(text) }, mode: 0o644 },
  });
  const lines = [
    'FROM base AS tools',
    'ARG DIR=opt',
    'RUN mkdir -p /opt/t && echo tool > /opt/t/tool && ln -s tool /opt/t/link && ln -s /etc/passwd /opt/t/out',
    'FROM base',
    'ARG DIR=opt',
    'WORKDIR /work',
    // Relative to the working directory; read-only; a part of the context, with a name that looks like a pattern.
    'RUN --mount=type=bind,source=dir/a[1].txt,target=in.txt cat in.txt && ! echo x > in.txt',
    'RUN --mount=target=/ctx ls -R /ctx | tr "\\n" " "',
    'RUN --mount=type=bind,from=tools,source=/$DIR/t,target=/t,rw cat /t/link && readlink /t/out && echo changed > /t/tool',
    'RUN --mount=type=bind,from=0,source=opt/t,target=/t cat /t/tool',
    'RUN --mount=type=bind,from=other,source=/etc,target=/etc2 cat /etc2/passwd | wc -l',
    'RUN --mount=type=secret,id=KEY,env=OTHER,target=/s,mode=0444 --mount=type=cache,target=/c/d,uid=1000,mode=0700 \\',
    '  [ "$OTHER" = "$(cat /s)" ] && stat -c "%u %a" /c/d && touch /c/d/x',
    'RUN ls -A / /work | tr "\\n" " "; [ ! -e /ctx ] && [ ! -e /t ] && [ ! -e /etc2 ] && [ ! -e /c ] && [ ! -e /s ]',
  ];
  const request = (text: string): Request => ({
    lines,
    contextFiles: [file('dir/a[1].txt', text), file('b.txt')],
    secretEnv: { KEY: 'value-of-the-secret' },
    baseImages: new Map([
      ['base', base],
      ['other', base],
    ]),
  });
  const built = await succeed(request('one\n'));
  assert.match(built.log, /\none\n/);
  assert.match(built.log, /\/ctx: b\.txt dir {2}\/ctx\/dir: a\[1\]\.txt/);
  assert.match(built.log, /\ntool\n\/etc\/passwd\n/);
  assert.match(built.log, /\ntool\n(?!\/etc)/, 'writes to the mount were lost');
  assert.match(built.log, /\n1000 700\n/);

  const changed = await build(request('two\n'));
  const cached = changed.log.match(/Using cache/g)?.length ?? 0;
  assert.match(changed.log, /\ntwo\n/, 'the content is part of the key');
  assert.ok(cached >= 2, changed.log);
});

test('a mount of what is not there is told by its line', async () => {
  const run = (options: string) => failure({ lines: ['FROM base', `RUN --mount=${options} true`] });
  const missing = await run('type=bind,source=nothere,target=/x');
  assert.match(missing.message, /Dockerfile line 2\) failed: no such file.*"nothere" in the build context/);
  const path = await run('type=bind,from=base,source=/nothere,target=/x');
  assert.match(path.message, /Dockerfile line 2\) failed: no such file or directory: "\/nothere"/);
  const stage = await run('type=bind,from=nobody,target=/x');
  assert.match(stage.message, /Dockerfile line 2\) failed: .*nobody/);
  const place = await run('type=tmpfs,target=/proc/x');
  assert.match(place.message, /Dockerfile line 2\) failed: Cannot mount at \/proc\/x/);
  const secret = await run('type=secret,id=none,required');
  assert.match(secret.message, /Dockerfile line 2\) failed: the secret `none` is required/);
});

test('COPY: context, modes, globs, links of the image, owners, stages; unused stages are not built', async () => {
  const file = (path: string, mode = 0o644) => ({ path, content: { bytes: Buffer.from(`${path}\n`) }, mode });
  const built = await succeed({
    lines: [
      'FROM base AS unused',
      'RUN exit 9',
      'FROM base AS tools',
      'RUN mkdir -p /opt/t && echo tool > /opt/t/tool && chmod 4755 /opt/t/tool && ln -s tool /opt/t/link',
      'FROM base',
      'RUN ln -s /data /link && ln -s / /escape',
      'COPY . /all/',
      'COPY *.py /link/',
      'COPY --chown=user --chmod=600 a.py /owned/deep/a',
      'COPY --from=tools /opt/t /escape/opt2',
      'COPY <<EOF /text',
      'value $NONE "quoted"',
      'EOF',
      `RUN cat /all/d/b.sh /data/a.py /text && stat -c '%a %u %n' /all/d/b.sh /owned/deep /owned/deep/a /opt2/tool && readlink /opt2/link`,
    ],
    contextFiles: [file('/a.py'), file('d/b.sh', 0o755)],
  });
  assert.doesNotMatch(built.log, /unused/);
  assert.match(built.log, /d\/b\.sh\n\/a\.py\nvalue {2}"quoted"\n/);
  assert.match(
    built.log,
    /755 0 \/all\/d\/b\.sh\n755 1000 \/owned\/deep\n600 1000 \/owned\/deep\/a\n4755 0 \/opt2\/tool\ntool\n/,
  );
});

test('a linked COPY is cached whatever is below it, unless it names an owner of that', async () => {
  const layerOf = async (flags: string, ...below: string[]) => {
    const { id } = await succeed({ lines: ['FROM base', ...below, `COPY ${flags} <<E /linked/f`, 'x', 'E'] });
    return images.get(id).layers.at(-1);
  };
  const other = 'WORKDIR /other';
  assert.equal(await layerOf('--link --chown=5:6', other), await layerOf('--link --chown=5:6'));
  assert.notEqual(await layerOf('--link --chown=user', other), await layerOf('--link --chown=user'));
  assert.notEqual(await layerOf('--link --chmod=600', other), await layerOf('--link --chmod=600'));
});

test('heredoc scripts run under the shell or their own interpreter', async () => {
  const { log } = await succeed({
    lines: [
      'FROM base',

      'RUN <<EOF',
      'set -e',
      'echo one $((1 + 1))',
      'EOF',
      'RUN <<EOF',
      '#!/bin/awk -f',
      'BEGIN { print "awk", 6 * 7 }',
      'EOF',
    ],
  });
  assert.match(log, /one 2\n/);
  assert.match(log, /awk 42\n/);
});

test('what Dockerfiles of strangers have in them: all of it in one build', async () => {
  const server = createServer((request, response) => response.end(`answer to ${request.url}`)).listen(
    0,
    '127.0.0.1',
  );
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address);
  const url = `http://127.0.0.1:${address.port}`;
  const sum = createHash('sha256').update('answer to /tool').digest('hex');
  const file = (path: string, text: string, mode = 0o644) => ({
    path,
    content: { bytes: Buffer.from(text) },
    mode,
  });
  const lines = [
    '# syntax=docker/dockerfile:1',
    'ARG BASE=base',
    'ARG BUILDPLATFORM=${BUILDPLATFORM:-linux/other}',
    'FROM --platform=linux/other base AS another-machines',
    'RUN exit 1',
    'FROM --platform=${BUILDPLATFORM} ${BASE} AS triggers',
    'ONBUILD ARG NAME=nobody',
    'ONBUILD COPY --chmod=+x go.sh /go.sh',
    'ONBUILD RUN /go.sh "$NAME" >/triggered',
    'FROM base AS files',
    'COPY --parents packages/*/package.json packages/./deep/**/x.txt /p/',
    'COPY --exclude=*.md --exclude=./deep packages /e/',
    'FROM triggers AS main',
    'SHELL ["/bin/sh", "-eu", "-c"]',
    `ADD --checksum="sha256:${sum}" --chmod=755 ${url}/tool /bin/tool`,
    `ARG VERSION=3`,
    `ADD ${url}/v\${VERSION}.tar.gz ${url}/b /opt/`,
    'COPY --link --from=files --chmod=u=rwX,go= /p /p',
    'COPY --link --from=files /e /e',
    'RUN --mount=type=cache,target=/var/cache/x,sharing=locked --mount=type=ssh --network=none <<-EOT',
    '\tset -e',
    '\ttouch /var/cache/x/kept',
    '\tfind /p /e /opt /bin/tool -type f -exec stat -c "%n %a" {} + | sort',
    '\tcat /bin/tool /opt/b /triggered',
    'EOT',
    'RUN test -z "$(ls /var/cache)" && cat <<A - <<B',
    'not shown',
    'A',
    'shown',
    'B',
    'STOPSIGNAL SIGQUIT',
    'MAINTAINER Some Body',
    'VOLUME ["/data"] ',
    'VOLUME /data /v$VERSION',
    'HEALTHCHECK CMD false',
    'HEALTHCHECK --interval=5m CMD true',
    'EXPOSE 80/tcp',
  ];
  const contextFiles = [
    file('packages/a/package.json', 'a'),
    file('packages/b/package.json', 'b', 0o755),
    file('packages/deep/one/two/x.txt', 'x'),
    file('packages/README.md', 'left out'),
    file('packages/a/KEPT.md', 'kept: another directory'),
    file('go.sh', '#!/bin/sh\necho "hello $1"\n'),
  ];
  try {
    const { id, log } = await succeed({ lines, contextFiles, buildArgs: { NAME: 'world' } });
    const found = log.slice(log.indexOf('/bin/tool 755\n'));
    assert.equal(
      found.slice(0, found.indexOf(' --->')),
      [
        '/bin/tool 755',
        '/e/a/KEPT.md 644',
        '/e/a/package.json 644',
        '/e/b/package.json 755',
        '/opt/b 600',
        '/opt/v3.tar.gz 600',
        '/p/deep/one/two/x.txt 600',
        '/p/packages/a/package.json 600',
        '/p/packages/b/package.json 700',
        'answer to /toolanswer to /bhello world',
        '',
      ].join('\n'),
    );
    assert.match(log, /\nshown\n/);
    const { config } = images.get(id);
    assert.deepEqual([config.stopSignal, config.exposedPorts, config.onBuild], ['SIGQUIT', [80], undefined]);
    assert.deepEqual(
      [config.author, config.volumes, config.healthcheck],
      ['Some Body', ['/data', '/v3'], { test: ['CMD-SHELL', 'true'], intervalNs: 300e9 }],
    );
    assert.match(log, /VOLUME \/data \/v\$VERSION\n ---> Kept in the configuration\./);
    const again = await succeed({
      lines: [...lines, 'LABEL a=b'],
      contextFiles,
      buildArgs: { NAME: 'world' },
    });
    assert.deepEqual(images.get(again.id).layers, images.get(id).layers);
    server
      .removeAllListeners('request')
      .on('request', (_request, response) => response.end('another answer'));
    const changed = await succeed({
      lines: [...lines, 'LABEL a=c'],
      contextFiles,
      buildArgs: { NAME: 'world' },
    });
    assert.notDeepEqual(images.get(changed.id).layers, images.get(id).layers);
    assert.match(changed.log, /answer to \/toolanother answer/);
  } finally {
    server.closeAllConnections();
    server.close();
  }
  const elsewhere = await failure({
    lines: ['FROM base', 'RUN echo ran', 'FROM --platform=linux/s390x base'],
  });
  assert.match(elsewhere.message, /line 3: this machine builds for/);
  assert.doesNotMatch(elsewhere.log, /ran/);
  const closed = await failure({ lines: ['FROM base', 'ADD http://169.254.169.254/latest /x'] });
  assert.match(closed.message, /Dockerfile line 2.*not a public address; files come from others only where/);
});

test('what BuildKit does that its reference hardly says: stages inherit ARG, mounts default to the working directory and have variables, here-documents have escapes', async () => {
  const lines = [
    'FROM base AS first',
    'ARG OWNER=1000 KEPT=kept',
    'ENV LATER=env OWNER=$OWNER',
    'ARG LATER=arg OWNER=9',
    'ENV OWNER=1000',
    'RUN echo "$LATER $OWNER"',
    'FROM first',
    'WORKDIR /work',
    'RUN --mount=from=first,rw touch bin/x && ls -d bin etc',
    'RUN --mount=type=cache,target="cache",uid=$OWNER,gid="$OWNER" stat -c "%u:%g" cache && echo "$KEPT" && [ ! -e bin ]',
    'COPY --chown="$OWNER" <<E /said',
    '"$KEPT" \\$KEPT \\\\ \\n',
    'E',
    'RUN stat -c %u /said && cat /said',
    'COPY there* nothing* /copied/',
    'COPY nothing* /not-copied/',
    'RUN ls -d /*copied/*',
    'EXPOSE 53/udp 53',
  ];
  const there = { path: 'there', content: { bytes: Buffer.from('there') }, mode: 0o644 };
  const { id, log } = await succeed({ lines, contextFiles: [there] });
  assert.match(log, /\n\/copied\/there\n/);
  const scratch = await succeed({ lines: ['FROM scratch', 'ENV PATH=$PATH:/x'] });
  assert.match(images.get(scratch.id).config.env.PATH ?? '', /^\/usr\/local\/sbin:.*:\/bin:\/x$/);
  assert.match(log, /\narg 1000\n/);
  assert.match(log, /\nbin\netc\n/);
  assert.match(log, /\n1000:1000\nkept\n/);
  assert.match(log, /\n1000\n"kept" \$KEPT \\ n\n/);
  assert.deepEqual(images.get(id).config.exposedPorts, ['53/udp', 53]);
  const root = await failure({ lines: ['FROM base', 'RUN --mount=type=tmpfs true'] });
  assert.match(root.message, /Dockerfile line 2: RUN --mount cannot be at \/: give it a target/);
});

test('a failing command is named with its exit code and its last words', async () => {
  const { message, log } = await failure({
    lines: ['FROM base', '', 'RUN echo fine; echo "E: no such thing" >&2; exit 7'],
  });
  assert.match(
    message,
    /RUN echo fine.*\(Dockerfile line 3\) failed with exit code 7\.\nIts last output:\nE: no such thing$/s,
  );
  assert.ok(log.endsWith(`The build failed: ${message}\n`));
  const missing = await failure({ lines: ['FROM base', 'RUN ["nothere"]'] });
  assert.match(missing.message, /nothere/);
});

test('mistakes in a definition are told before or during the build', async () => {
  await assert.rejects(images.getOrBuild(define({ lines: ['FROM base', 'FETCH x'] })), {
    code: 'invalid-argument',
    message: /line 2: unknown instruction `FETCH`/,
  });
  await assert.rejects(
    images.getOrBuild(define({ lines: ['FROM b'], baseImages: new Map([['b', 'im-none' as ImageId]]) })),
    { code: 'not-found' },
  );
  await assert.rejects(
    images.getOrBuild(
      define({
        lines: ['FROM base'],
        contextFiles: [{ path: '../x', content: { bytes: Buffer.of() }, mode: 0 }],
      }),
    ),
    { code: 'invalid-argument' },
  );
  const copy = await failure({ lines: ['FROM base', 'COPY nothere /x'] });
  assert.match(
    copy.message,
    /COPY nothere \/x` \(Dockerfile line 2\) failed: no such file or directory: "nothere" in the build context/,
  );
  const owner = await failure({ lines: ['FROM base', 'COPY --chown=ghost <<E /x', 'E'] });
  assert.match(owner.message, /no `ghost` in the image's \/etc\/passwd/);
  const python = await failure({ lines: ['FROM python:3.8-slim'] });
  assert.match(python.message, /no package has Python 3\.8 for this machine; these work: 3\.9, 3\.10, /);
  assert.match(python.message, /--registry-mirrors/);
  const debian = await failure({ lines: ['FROM debian:bookworm-slim'] });
  assert.match(debian.message, /mirror http:\/\/127\.0\.0\.1:9\/debian cannot be reached.*--debian-mirror/);
});

test('equal definitions at once are one build, equal steps of different ones run once', async () => {
  const lines = ['FROM base', 'RUN cat /proc/sys/kernel/random/uuid > /id && sleep 0.3'];
  const [a, b] = await Promise.all([
    images.getOrBuild(define({ lines })),
    images.getOrBuild(define({ lines })),
  ]);
  assert.equal(a.id, b.id);
  const c = await images.getOrBuild(define({ lines: [...lines, 'ENV C=1'] }));
  assert.notEqual(c.id, a.id);
  const [first, second] = await Promise.all([follow(images, a.id), follow(images, c.id)]);
  assert.deepEqual([first.result?.kind, second.result?.kind], ['success', 'success']);
  assert.deepEqual(images.get(a.id).layers, images.get(c.id).layers);
});

test('who joins a build late sees all of its log', async () => {
  const { id } = await images.getOrBuild(
    define({ lines: ['FROM base', 'RUN echo early; sleep 1; echo at last'] }),
  );
  let late: ReturnType<typeof follow> | undefined;
  let log = '';
  for await (const event of images.follow(id, 0, AbortSignal.timeout(240_000))) {
    if (event.kind === 'result') break;
    log += event.entry.text;
    if (log.includes('early\n')) late ??= follow(images, id);
  }
  assert.match(log, /^Step 1.*\nearly\nat last\n/s);
  assert.equal((await late)?.log, log);
});

test('forceBuild replaces the cached result, ignoreCache leaves it', async () => {
  const lines = ['FROM base', 'RUN cat /proc/sys/kernel/random/uuid > /forced'];
  const first = await succeed({ lines });
  const ignored = await succeed({ lines, ignoreCache: true });
  assert.notDeepEqual(images.get(ignored.id).layers, images.get(first.id).layers);
  assert.equal((await images.getOrBuild(define({ lines }))).id, first.id);
  const forced = await succeed({ lines, forceBuild: true });
  assert.equal((await images.getOrBuild(define({ lines }))).id, forced.id);
  assert.notDeepEqual(images.get(forced.id).layers, images.get(first.id).layers);
});

test('names, deletion, and what collection removes', async () => {
  const { id } = await succeed({ lines: ['FROM base', 'RUN echo x > /x'] });
  images.publish(id, 'team/app');
  assert.equal(images.getByName('team/app:latest'), id);
  assert.equal((await images.fromReference('team/app', AbortSignal.timeout(1000))).id, id);
  await succeed({ lines: ['FROM team/app:latest', 'CMD ["x"]'] });
  assert.throws(() => images.getByName('team/other'), { code: 'not-found' });

  const lone = await succeed({ lines: ['FROM base', 'RUN echo lone > /lone'] });
  const directory = images.layerDirectories(images.get(lone.id)).at(-1) ?? '';
  await stat(directory);
  await images.delete(lone.id);
  await assert.rejects(stat(directory), { code: 'ENOENT' });
  assert.throws(() => images.get(lone.id), { code: 'not-found' });
  // The layer of an image that another one uses stays.
  await images.delete(id);
  assert.throws(() => images.getByName('team/app'), { code: 'not-found' });
  const again = await succeed({ lines: ['FROM base', 'RUN echo x > /x'] });
  assert.equal(again.log.match(/Using cache/g)?.length, 1);
});

test('after a restart finished images and logs are there, unfinished builds have failed and can be asked for again', async () => {
  const done = await succeed({ lines: ['FROM base', 'RUN echo kept'] });
  const lines = ['FROM base', 'RUN sleep 60'];
  const { id } = await images.getOrBuild(define({ lines }));
  // What a killed server leaves: the row still says that it is being built.
  await images.close();
  store.database.prepare(`UPDATE images SET state = 'building' WHERE id = ?`).run(id);
  images = open();
  const { log, result } = await follow(images, done.id);
  assert.match(log, /kept\n.*Successfully built/s);
  assert.deepEqual(result, { kind: 'success' });
  const interrupted = await follow(images, id);
  assert.match(interrupted.result?.kind === 'failure' ? interrupted.result.message : '', /server restarted/);
  const retried = await images.getOrBuild(define({ lines }));
  assert.notEqual(retried.id, id);
  await images.delete(retried.id);
  await images.collectGarbage();
  assert.deepEqual(await readdir(join(dataDir, 'images', 'tmp')), []);
});

test('a build has so much time, its steps so much memory and so many processes, and it says what it lacked', async (t) => {
  const reopen = async (...limits: Parameters<typeof open>) => {
    await images.close();
    images = open(...limits);
  };
  t.after(() => reopen());
  await reopen({}, { buildTimeoutMinutes: 1 / 30 });
  const slow = await failure({ lines: ['FROM base', 'RUN sleep 60'] });
  assert.match(slow.message, /^the build took more than \S+ minutes \(buildTimeoutMinutes\)$/);
  await reopen({}, { buildMemoryMiB: 64, buildPids: 20 });
  const large = await failure({ lines: ['FROM base', `RUN awk 'BEGIN { s = "x"; while (1) s = s s }'`] });
  assert.match(large.message, /r[au]n(ning)? out of memory/);
  const many = ['FROM base', 'RUN i=0; while [ $i -lt 40 ]; do sleep 60 & i=$((i+1)); done'];
  assert.match((await failure({ lines: many })).message, /can't fork/);
});

test('a layer that cannot be removed holds up no other', async (t) => {
  const { layers, temporary } = ImagePlaces.in(dataDir);
  const names = ['a-stuck', 'b-next'];
  t.after(() =>
    Promise.all(
      names.flatMap((name) =>
        [layers, temporary].map((place) => rm(join(place, name), { recursive: true, force: true })),
      ),
    ),
  );
  for (const name of names) await mkdir(join(layers, name));
  await mkdir(join(temporary, 'a-stuck/occupied'), { recursive: true }); // where it would be moved out of sight
  await images.collectGarbage();
  assert.deepEqual(
    (await readdir(layers)).filter((name) => names.includes(name)),
    ['a-stuck'],
  );
});

test('a step whose sandbox cannot be removed at once is built all the same, and the log says what is left', async () => {
  const thorns: string[] = [];
  const lines: string[] = [];
  const thorny: ImageServiceOptions['instances'] = {
    destroy: (id) => instances.destroy(id),
    boundsDisk: () => false,
    // A mount among its files, which no removal of files gets past.
    warm: instances.warm,
    start: async (shape, tenure, signal) => {
      const instance = await instances.start(shape, tenure, signal);
      const thorn = join(dataDir, 'instances', instance.id, 'thorn');
      await mkdir(thorn);
      await run(['mount', '-t', 'tmpfs', 'thorn', thorn]);
      thorns.push(thorn);
      return instance;
    },
  };
  const service = open({
    instances: thorny,
    logger: createLogger('info', { write: (line) => lines.push(line) }),
  });
  try {
    const { id } = await service.getOrBuild(define({ lines: ['FROM base', 'RUN echo thorny > /made'] }));
    const { log, result } = await follow(service, id);
    assert.deepEqual(result, { kind: 'success' }, log);
    assert.equal(thorns.length, 1);
    assert.match(lines.join(''), /cleanup\.failed/);
    assert.match(lines.join(''), /EBUSY/);
    const failed = await service.getOrBuild(define({ lines: ['FROM base', 'RUN echo thorny; exit 3'] }));
    const end = await follow(service, failed.id);
    assert.ok(
      end.result?.kind === 'failure' && /exit(ed)? .*3/.test(end.result.message),
      JSON.stringify(end),
    );
    assert.doesNotMatch(end.log, /EBUSY|suppressed/);
  } finally {
    for (const thorn of thorns) await run(['umount', thorn]);
    await service.close();
  }
});

/** A service whose RUN steps begin only once so many of them are there. */
function opened(together: number) {
  const all = Promise.withResolvers<void>();
  let waiting = 0;
  const start: InstanceService['start'] = async (shape, tenure, signal, ...rest) => {
    if (++waiting === together) all.resolve();
    await unlessAborted(all.promise, signal);
    return instances.start(shape, tenure, signal, ...rest);
  };
  const { warm } = instances;
  return open({
    instances: {
      ...{ start, warm },
      destroy: (id) => instances.destroy(id),
      boundsDisk: (runtime) => instances.boundsDisk(runtime),
    },
  });
}

test('stages that need nothing of each other are built at once, and the log reads as if one came after the other', async (t) => {
  const service = opened(2);
  t.after(() => service.close());
  const { id } = await service.getOrBuild(
    define({
      lines: [
        'FROM base AS one',
        'RUN echo at once: one > /one && cat /one',
        'FROM base AS two',
        'RUN echo at once: two > /two && cat /two',
        'FROM one',
        'COPY --from=two /two /',
        'RUN cat /one /two',
      ],
    }),
  );
  const { log, result } = await follow(service, id);
  assert.deepEqual(result, { kind: 'success' }, log);
  const steps = log.split('\n').filter((line) => /^(Step|at once)/.test(line));
  assert.deepEqual(steps, [
    'Step 1/7 : FROM base AS one',
    'Step 2/7 : RUN echo at once: one > /one && cat /one',
    'at once: one',
    'Step 3/7 : FROM base AS two',
    'Step 4/7 : RUN echo at once: two > /two && cat /two',
    'at once: two',
    'Step 5/7 : FROM one',
    'Step 6/7 : COPY --from=two /two /',
    'Step 7/7 : RUN cat /one /two',
    'at once: one',
    'at once: two',
  ]);
});

test('the first stage that fails ends the others, and what it said is in the log', async (t) => {
  const service = opened(2);
  t.after(() => service.close());
  const { id } = await service.getOrBuild(
    define({
      lines: [
        'FROM base AS endless',
        'RUN echo this one would go on && sleep 1000',
        'FROM base AS failing',
        'RUN echo this one fails; exit 7',
        'FROM base',
        'COPY --from=endless / /a',
        'COPY --from=failing / /b',
      ],
    }),
  );
  const { log, result } = await follow(service, id);
  assert.ok(result?.kind === 'failure', log);
  assert.match(result.message, /this one fails; exit 7.*exit(ed)? .*7/s);
  assert.match(log, /\nthis one fails\n/);
});
