/** The handlers of apps, environments, secrets, mounts, blobs and images over the wire, on the real domain over the fake engine. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code } from '@connectrpc/connect';
import type { AppId } from '../../../ids.ts';
import type { ImageDefinition } from '../../../images/image.ts';
import { AppReaper } from '../../../sandboxes/app-reaper.ts';
import { Domain } from '../../../sandboxes/testing/domain.ts';
import { BASE_IMAGE } from '../../../sandboxes/testing/test-images.ts';
import { createLogger } from '../../../telemetry/logger.ts';
import { type AppFetchLogsRequestSchema, AppState } from '../gen/modal/apps_pb.ts';
import {
  FileDescriptor,
  RegistryAuthType,
  GenericResult_GenericStatus as Status,
} from '../gen/modal/common_pb.ts';
import { ObjectCreationType as Creation } from '../gen/modal/workspace_pb.ts';
import { code } from '../testing/clients.ts';
import { inMemoryClient, pythonCall } from '../testing/in-memory.ts';
import { appHandlers } from './apps.ts';
import { blobHandlers, blobRoute } from './blobs.ts';
import { environmentHandlers } from './environments.ts';
import { imageHandlers } from './images.ts';
import { logHandlers } from './logs.ts';
import { mountHandlers } from './mounts.ts';
import { secretHandlers } from './secrets.ts';

const logger = createLogger('silent');
const sha256 = (data: string): string => createHash('sha256').update(data).digest('hex');

async function setUp(t: TestContext) {
  const domain = await Domain.open();
  t.after(() => domain[Symbol.asyncDispose]());
  const { apps, secrets, blobs, mounts, images, manager: sandboxes } = domain;
  const reaper = new AppReaper({ apps, sandboxes, logger });
  const now = Date.now;
  /** What was asked to be built. */
  const definitions: ImageDefinition[] = [];
  const build = images.getOrBuild.bind(images);
  images.getOrBuild = (definition) => {
    definitions.push(definition);
    return build(definition);
  };

  const route = blobRoute({ blobs, logger });
  const http = createServer((request, response) => void route.handle(request, response));
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  t.after(() => http.close());
  const { port } = http.address() as AddressInfo; // a TCP server's address is an object

  const handlers = {
    ...appHandlers({ apps, reaper, sandboxes, now }),
    ...environmentHandlers({ apps, reaper }),
    ...secretHandlers({ apps, secrets }),
    ...mountHandlers({ blobs, mounts, now }),
    ...blobHandlers({ blobs }),
    ...logHandlers({ apps, images, sandboxes, now }),
    ...imageHandlers({ apps, secrets, mounts, blobs, images, volumeMounts: domain.volumeMounts, now }),
  };
  const authority = `127.0.0.1:${port}`;
  const client = inMemoryClient(handlers, domain.store.answers, { ...pythonCall, authority });
  /** Follows a build from after an entry. */
  const join = async (imageId: string, lastEntryId = '', timeout = 55) =>
    Array.fromAsync(client.imageJoinStreaming({ imageId, timeout, lastEntryId }));
  return { domain, client, definitions, join };
}

test('an app is looked up, published, listed and stopped with its sandboxes', async (t) => {
  const { client, domain } = await setUp(t);
  const lookup = { appName: 'web', environmentName: '', objectCreationType: Creation.UNSPECIFIED };
  await assert.rejects(client.appGetOrCreate(lookup), code(Code.NotFound, /App 'web' not found/));
  const { appId } = await client.appGetOrCreate({
    ...lookup,
    objectCreationType: Creation.CREATE_IF_MISSING,
  });
  assert.deepEqual((await client.appGetLayout({ appId })).appLayout, { $typeName: 'modal.client.AppLayout' });
  await assert.rejects(client.appGetLayout({ appId: 'ap-absent' }), code(Code.NotFound));
  const found = await client.appGetByDeploymentName({ name: 'web' });
  assert.equal(found.appId, appId);
  assert.equal(found.lifecycle?.appState, AppState.DEPLOYED);
  assert.equal((await client.appGetByDeploymentName({ name: 'none' })).appId, '');
  await client.appSetTags({ appId, tags: { a: '1' } });
  assert.deepEqual((await client.appGetTags({ appId })).tags, { a: '1' });
  const sandbox = await domain.running({ appId: appId as AppId });
  await client.appStop({ appId });
  assert.equal(sandbox.result?.kind, 'terminated');
  const { apps } = await client.appList({});
  assert.deepEqual(
    apps.map(({ state }) => state),
    [AppState.STOPPED],
  );
  assert.ok((apps[0]?.stoppedAt ?? 0) > 0);
});

test('disconnecting ends an app, but for a deployed one and a detached one in which a sandbox runs', async (t) => {
  const { client, domain } = await setUp(t);
  const disconnected = async (appId: string) => {
    await client.appClientDisconnect({ appId });
    return (await client.appGetLifecycle({ appId })).lifecycle?.appState;
  };
  const made = async (appState: AppState) => {
    const { appId } = await client.appCreate({ description: 'x', appState });
    await client.appHeartbeat({ appId });
    await client.appPublish({ appId, appState });
    return appId;
  };
  assert.equal(await disconnected(await made(AppState.EPHEMERAL)), AppState.STOPPED);
  const deployed = await client.appGetOrCreate({
    appName: 'deployed',
    objectCreationType: Creation.CREATE_IF_MISSING,
  });
  assert.equal(await disconnected(deployed.appId), AppState.DEPLOYED);
  assert.equal(await disconnected(await made(AppState.DETACHED)), AppState.STOPPED);
  const used = await made(AppState.DETACHED);
  const sandbox = await domain.running({ appId: used as AppId });
  assert.equal(await disconnected(used), AppState.DETACHED);
  assert.equal(sandbox.result, undefined);
  await sandbox.terminate();
  assert.equal(await disconnected(used), AppState.STOPPED);
  const { appId } = await client.appCreate({});
  await assert.rejects(
    client.appPublish({ appId, functionIds: { f: 'fu-1' } }),
    code(Code.Unimplemented, /Functions/),
  );
});

test('an old Python client is told a builder version that it knows', async (t) => {
  const { client } = await setUp(t);
  const version = async (headers: Record<string, string>) =>
    (await client.environmentGetOrCreate({}, { headers })).metadata?.settings?.imageBuilderVersion;
  const python = (clientVersion: string) => ({
    'x-modal-client-type': '1',
    'x-modal-client-version': clientVersion,
  });
  assert.equal(await version(python('1.0.5')), '2024.10');
  assert.equal(await version(python('1.6.4')), '2025.06');
  assert.equal(await version({ 'x-modal-client-type': '8', 'x-modal-client-version': '1.0.0' }), '2025.06');
});

test('environments are made, changed and deleted with what is in them', async (t) => {
  const { client } = await setUp(t);
  await client.environmentCreate({ name: 'dev' });
  await assert.rejects(client.environmentCreate({ name: 'dev' }), code(Code.AlreadyExists));
  await client.environmentUpdate({ currentName: 'dev', name: 'dev2', imageBuilderVersion: '2026.10' });
  const { items } = await client.environmentList({});
  assert.deepEqual(
    items.map((item) => [item.name, item.default, item.imageBuilderVersion]),
    [
      ['main', true, '2025.06'],
      ['dev2', false, '2026.10'],
    ],
  );
  await client.environmentDelete({ name: 'dev2' });
  await assert.rejects(client.environmentGetOrCreate({ deploymentName: 'dev2' }), code(Code.NotFound));
  await assert.rejects(client.environmentDelete({ name: 'main' }), code(Code.FailedPrecondition));
  await assert.rejects(client.environmentDelete({ name: '' }), code(Code.FailedPrecondition));
});

test('secrets: the five ways to make one, and pages', async (t) => {
  const { client, domain } = await setUp(t);
  const make = (objectCreationType: Creation, env: Record<string, string>, more = {}) =>
    client.secretGetOrCreate({ deploymentName: 's', objectCreationType, envDict: env, ...more });
  await assert.rejects(make(Creation.UNSPECIFIED, {}), code(Code.NotFound));
  const { secretId, metadata } = await make(Creation.CREATE_FAIL_IF_EXISTS, { A: '1' });
  assert.deepEqual([metadata?.name, metadata?.keys], ['s', ['A']]);
  assert.ok((metadata?.creationInfo?.createdAt ?? 0) > 0);
  await assert.rejects(make(Creation.CREATE_FAIL_IF_EXISTS, {}), code(Code.AlreadyExists));
  await make(Creation.CREATE_OVERWRITE_IF_EXISTS, { B: '2' });
  await client.secretUpdate({ secretId, updates: [{ key: 'C', value: '3' }, { key: 'B' }] });
  assert.deepEqual((await client.secretGetInfo({ secretId })).metadata?.keys, ['C']);
  await assert.rejects(
    make(Creation.UNSPECIFIED, {}, { requiredKeys: ['C', 'D'] }),
    code(Code.FailedPrecondition, /Secret is missing key\(s\): D/),
  );
  const { appId } = await client.appCreate({});
  for (const type of [Creation.EPHEMERAL, Creation.ANONYMOUS_OWNED_BY_APP]) {
    const { secretId: id } = await make(type, { E: '4' }, { appId });
    assert.deepEqual(domain.secrets.resolve([{ kind: 'stored', id: id as never }]), { E: '4' });
  }
  await client.secretGetOrCreate({ deploymentName: 't', objectCreationType: Creation.CREATE_IF_MISSING });
  const first = await client.secretList({ pagination: { maxObjects: 1 } });
  const createdBefore = first.items[0]?.metadata?.creationInfo?.createdAt ?? 0;
  const second = await client.secretList({ pagination: { maxObjects: 1, createdBefore } });
  assert.deepEqual(
    [...first.items, ...second.items].map(({ label }) => label),
    ['t', 's'],
  );
  await client.secretDelete({ secretId });
  await assert.rejects(client.secretGetInfo({ secretId }), code(Code.NotFound));
});

test('a file goes up inline or as a blob, and becomes part of a mount', async (t) => {
  const { client } = await setUp(t);
  const [small, big] = ['', 'big content'];
  const hashes = [sha256(small), sha256(big)];
  const missing = async () =>
    (await client.mountBatchedCheckExistence({ sha256HexHashes: hashes })).missingSha256HexHashes;
  assert.deepEqual(await missing(), hashes);
  assert.equal((await client.mountPutFile({ sha256Hex: sha256(small) })).exists, false);
  const data = { case: 'data', value: new Uint8Array() } as const;
  assert.equal((await client.mountPutFile({ sha256Hex: sha256(small), dataOneof: data })).exists, true);

  const blob = await client.blobCreate({
    contentSha256Base64: Buffer.from(sha256(big), 'hex').toString('base64'),
    contentLength: BigInt(big.length),
  });
  const oldForm = blob.uploadTypeOneof.case === 'uploadUrl' ? blob.uploadTypeOneof.value : '';
  const newForm = blob.uploadTypesOneof.case === 'uploadUrls' ? blob.uploadTypesOneof.value.items : [];
  assert.deepEqual(newForm, [oldForm]);
  assert.deepEqual(blob.blobIds, [blob.blobId]);
  const put = (url: string, body: string) => fetch(url, { method: 'PUT', body });

  const torn = await put(oldForm, 'bad content');
  assert.equal(torn.status, 400);
  assert.match(await torn.text(), /The Content-MD5 you specified did not match what we received\./);
  assert.equal((await put(oldForm.replace(/signature=.*/, 'signature=x'), big)).status, 403);
  const ofBlob = { case: 'dataBlobId', value: blob.blobId } as const;
  const asFile = { sha256Hex: sha256(big), dataOneof: ofBlob };
  await assert.rejects(client.mountPutFile(asFile), code(Code.FailedPrecondition, /not complete/));

  const stored = await put(oldForm, big);
  assert.equal(stored.status, 200);
  assert.equal(stored.headers.get('etag'), `"${createHash('md5').update(big).digest('hex')}"`);
  assert.equal((await client.mountPutFile(asFile)).exists, true);
  assert.deepEqual(await missing(), []);
  const { downloadUrl } = await client.blobGet({ blobId: blob.blobId });
  assert.equal(await (await fetch(downloadUrl)).text(), big);

  const mount = await client.mountGetOrCreate({
    objectCreationType: Creation.EPHEMERAL,
    files: [{ filename: '/a', sha256Hex: sha256(big), mode: 0o755 }],
  });
  assert.match(mount.mountId, /^mo-/);
  assert.ok(mount.handleMetadata);
});

test("of Modal's own mounts there are standalone Pythons; others are refused with a way out", async (t) => {
  const { client, definitions, domain } = await setUp(t);
  const named = (deploymentName: string) => client.mountGetOrCreate({ deploymentName });
  await assert.rejects(
    named('python-build-standalone.20261009.3.15.0-gnu'),
    code(Code.NotFound, /no standalone Python 3\.15 .*add_python; these work: 3\.9/),
  );
  await assert.rejects(
    named('modal-client-mount-1.0.5'),
    code(Code.Unimplemented, /Functions, and Image\.run_function with them, are not supported/),
  );
  await assert.rejects(named('mine'), code(Code.NotFound, /Named mounts are not supported/));
  const { mountId } = await named('python-build-standalone.20251205.3.14.2-gnu');
  assert.deepEqual((await named('python-build-standalone.20251205.3.14.2-gnu')).mountId, mountId);
  domain.engine.faults.failTimes('prepare', 1); // the build ends before anything is fetched
  const lines = ['FROM base', 'RUN true', 'COPY /python/. /usr/local'];
  await client.imageGetOrCreate({
    image: { dockerfileCommands: lines, contextMountId: mountId },
    builderVersion: '2025.06',
  });
  const definition = definitions.at(-1);
  assert.deepEqual(definition?.standalonePython, { version: '3.14.2', namesPython: true });
  assert.deepEqual(definition?.contextFiles, []);
});

test('an image definition carries its context, arguments, secrets and credentials', async (t) => {
  const { client, definitions, join } = await setUp(t);
  const content = 'file';
  await client.mountPutFile({
    sha256Hex: sha256(content),
    dataOneof: { case: 'data', value: Buffer.from(content) },
  });
  const { mountId } = await client.mountGetOrCreate({
    objectCreationType: Creation.EPHEMERAL,
    files: [{ filename: '/app/a.txt', sha256Hex: sha256(content), mode: 0o600 }],
  });
  const secret = async (envDict: Record<string, string>) =>
    (await client.secretGetOrCreate({ objectCreationType: Creation.EPHEMERAL, envDict })).secretId;
  const registry = await secret({ REGISTRY_USERNAME: 'u', REGISTRY_PASSWORD: 'p' });
  const image = {
    dockerfileCommands: [
      'FROM ours',
      'ARG V',
      'WORKDIR /work',
      'COPY . .',
      'RUN test "$V$TOKEN" = 1t \\',
      ' && test "$(cat app/a.txt .requirements.txt)" = filex',
    ],
    baseImages: [{ imageId: BASE_IMAGE, dockerTag: 'ours' }],
    contextFiles: [{ filename: '/.requirements.txt', data: Buffer.from('x') }],
    contextMountId: mountId,
    buildArgs: { V: '1' },
    secretIds: [await secret({ TOKEN: 't' })],
    gpuConfig: {},
    imageRegistryConfig: { registryAuthType: RegistryAuthType.STATIC_CREDS, secretId: registry },
  };
  const building = await client.imageGetOrCreate({ image, builderVersion: '2024.10', forceBuild: true });
  assert.equal(building.result, undefined);
  const [definition] = definitions;
  assert.deepEqual(definition?.dockerfileLines, image.dockerfileCommands);
  assert.deepEqual([...(definition?.baseImages ?? [])], [['ours', BASE_IMAGE]]);
  assert.deepEqual(
    definition?.contextFiles.map(({ path, mode }) => [path, mode]),
    [
      ['/.requirements.txt', 0o644],
      ['/app/a.txt', 0o600],
    ],
  );
  assert.deepEqual(definition?.buildArgs, { V: '1' });
  assert.deepEqual(definition?.secretEnv, { TOKEN: 't' });
  assert.deepEqual(definition?.registryCredentials, { username: 'u', password: 'p' });
  assert.deepEqual([definition?.builderVersion, definition?.forceBuild], ['2024.10', true]);

  const joined = (await join(building.imageId)).at(-1);
  assert.equal(joined?.result?.status, Status.SUCCESS, JSON.stringify(joined?.result));
  const built = await client.imageGetOrCreate({ image, builderVersion: '2024.10' });
  assert.deepEqual([built.imageId, built.result?.status], [building.imageId, Status.SUCCESS]);
  assert.deepEqual([built.metadata?.workdir, built.metadata?.imageBuilderVersion], ['/work', '2024.10']);
});

test('a build that fails says so to who follows it', async (t) => {
  const { client, join } = await setUp(t);
  const image = { dockerfileCommands: ['FROM base', 'RUN echo oh no; false'] };
  const messages = await join((await client.imageGetOrCreate({ image })).imageId);
  assert.match(messages.flatMap(({ taskLogs }) => taskLogs.map(({ data }) => data)).join(''), /oh no/);
  const { result } = messages.at(-1) ?? {};
  assert.equal(result?.status, Status.FAILURE);
  assert.match(result?.exception ?? '', /RUN/);
});

test('what images cannot have is refused by name', async (t) => {
  const { client } = await setUp(t);
  const build = (image: object) => client.imageGetOrCreate({ image });
  await assert.rejects(
    build({ buildFunction: { definition: 'f' } }),
    code(Code.Unimplemented, /run_function/),
  );
  await assert.rejects(build({ gpuConfig: { count: 1 } }), code(Code.Unimplemented, /GPU/));
  await assert.rejects(build({ volumeMounts: [{ volumeId: 'vo-1', mountPath: '/v' }] }), code(Code.NotFound));
  await assert.rejects(build({ contextMountId: 'mo-1' }), code(Code.NotFound));
  await assert.rejects(build({ secretIds: ['st-1'] }), code(Code.NotFound));
  const contextFiles = [{ filename: '../etc/passwd', data: new Uint8Array() }];
  await assert.rejects(build({ contextFiles }), code(Code.InvalidArgument));
  await assert.rejects(client.imageGetOrCreate({}), code(Code.InvalidArgument));
  await assert.rejects(
    client.imageGetOrCreate({ image: {}, builderVersion: '../x' }),
    code(Code.InvalidArgument),
  );
});

test('a build is followed from any entry to its result', async (t) => {
  const { client, join } = await setUp(t);
  const image = { dockerfileCommands: ['FROM base', 'RUN echo one', 'RUN echo two >&2'] };
  const { imageId } = await client.imageGetOrCreate({ image });
  const texts = (messages: Awaited<ReturnType<typeof join>>) =>
    messages.flatMap(({ taskLogs }) => taskLogs.map(({ data }) => data));
  const all = await join(imageId);
  assert.match(texts(all).join(''), /one\n[\s\S]*two\n/);
  const rest = await join(imageId, '1');
  assert.deepEqual(texts(rest), texts(all).slice(1));
  assert.deepEqual(
    rest.map(({ entryId }) => entryId),
    [String(texts(all).length), ''],
  );
  // A result before the end would end the wait of JavaScript and Go.
  assert.deepEqual(
    rest.map(({ result }) => result?.status),
    [undefined, Status.SUCCESS],
  );
});

test('the logs of an image and of those it was built on are read like those of tasks', async (t) => {
  const { client, join } = await setUp(t);
  const built = async (base: string | undefined, ...dockerfileCommands: string[]) => {
    const baseImages = base === undefined ? [] : [{ dockerTag: 'before', imageId: base }];
    const { imageId } = await client.imageGetOrCreate({ image: { dockerfileCommands, baseImages } });
    await join(imageId);
    return imageId;
  };
  const first = await built(undefined, 'FROM base', 'RUN echo one');
  const second = await built(first, 'FROM before', 'RUN echo two; echo three >&2');
  const { buildSteps } = await client.imageBuildChainGet({ imageId: second });
  assert.deepEqual(
    buildSteps.map(({ imageId }) => imageId),
    [first, second],
  );
  const [one, two] = buildSteps.map(({ builderAppId, builderTaskId, startedAt, finishedAt }) => ({
    ...{ appId: builderAppId, taskId: builderTaskId },
    ...(startedAt && finishedAt && { since: startedAt, until: finishedAt }),
  }));
  const said = async (request: MessageInitShape<typeof AppFetchLogsRequestSchema>) =>
    (await client.appFetchLogs(request)).batches.flatMap(({ items }) => items.map(({ data }) => data));
  const all = await said({ ...two });
  assert.match(all.join(''), /two\n[\s\S]*Successfully built im-/);
  assert.deepEqual(await said({ ...two, limit: 1 }), all.slice(-1));
  assert.deepEqual(await said({ ...two, source: FileDescriptor.STDERR }), ['three\n']);
  assert.deepEqual(await said({ ...one, source: FileDescriptor.STDOUT }), ['one\n']);
  assert.deepEqual(await said({ ...two, until: timestampFromMs(1) }), []);
  const { buckets } = await client.appCountLogs({ ...two, bucketSecs: 86_400, searchText: 'three' });
  assert.deepEqual(
    buckets.map(({ stderrLogs }) => stderrLogs),
    [1n],
  );
  await assert.rejects(client.imageBuildChainGet({ imageId: 'im-absent' }), code(Code.NotFound));
  const absent = `ta-${'0'.repeat(22)}`;
  await assert.rejects(client.appFetchLogs({ taskId: absent }), code(Code.NotFound));
});

test('a build that goes on longer than the client waits ends its stream without a result', async (t) => {
  const { client, domain, join } = await setUp(t);
  const held = domain.engine.faults.hold('prepare');
  const { imageId } = await client.imageGetOrCreate({
    image: { dockerfileCommands: ['FROM base', 'RUN true'] },
  });
  const messages = await join(imageId, '', 0.5);
  assert.ok(messages.length > 0);
  assert.ok(messages.every(({ result }) => result === undefined));
  held.release();
  const rest = await join(imageId, messages.at(-1)?.entryId);
  assert.equal(rest.at(-1)?.result?.status, Status.SUCCESS);
});

test('images are found by id and by name', async (t) => {
  const { client } = await setUp(t);
  const imageId = BASE_IMAGE;
  assert.equal((await client.imageFromId({ imageId })).metadata?.imageBuilderVersion, '2025.06');
  await assert.rejects(client.imageFromId({ imageId: 'im-2' }), code(Code.NotFound));
  await client.imagePublish({ imageId, tag: 'main/img' });
  assert.equal((await client.imageGetByTag({ tag: 'img:latest' })).imageId, imageId);
  await assert.rejects(client.imageGetByTag({ tag: 'none/img' }), code(Code.NotFound, /Environment/));
  await assert.rejects(client.imageNameDelete({ tag: 'img:v9' }), code(Code.NotFound));
  const tags = async () => (await client.imageListTags({})).items.map(({ tag }) => tag);
  assert.deepEqual(await tags(), ['base:latest', 'img:latest']);
  await client.imageNameDelete({ tag: 'img' });
  assert.deepEqual(await tags(), ['base:latest']);
  await client.imageDelete({ imageId });
  await assert.rejects(client.imageFromId({ imageId }), code(Code.NotFound));
});
