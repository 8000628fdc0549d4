/** What an operator is told of a server and can have it do, on one that clients use. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ModalClient } from 'modal';
import { Metadata } from 'nice-grpc';
import { Sandbox } from '../sdk/src/index.ts';
import { delay } from '../server/src/platform/wait.ts';
import {
  type OtlpReceiver,
  otlpReceiver,
  type ReceivedSpan,
} from '../server/src/telemetry/testing/otlp-receiver.ts';
import { goCases, pythonCases } from './life/support/cases.ts';
import { goExample } from './support/clients.ts';
import { announce, conceal, runSkerry } from './support/command.ts';
import { startServer, type TestServer } from './support/server.ts';

const IMAGE = 'debian:bookworm-slim';

describe('a server in operation', () => {
  let server: TestServer;
  let token: string;
  let sandbox: Sandbox;
  let scratch: string;
  let hooks: Server;
  let collector: OtlpReceiver;
  const told: { type: string; data: { sandboxId: string; name?: string } }[] = [];
  before(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'e2e-operations-'));
    const secretFile = join(scratch, 'secret');
    writeFileSync(secretFile, `whsec_${Buffer.alloc(32).toString('base64')}`);
    hooks = createServer(async (request, response) => {
      told.push(JSON.parse(Buffer.concat(await request.toArray()).toString()));
      response.end();
      hooks.emit('told');
    }).listen(0, '127.0.0.1');
    await once(hooks, 'listening');
    const { port } = hooks.address() as AddressInfo; // TCP, so it has one
    collector = await otlpReceiver();
    const flags = [
      ...['--otlp-endpoint', collector.url],
      ...['--webhook-urls', `http://127.0.0.1:${port}/`, '--webhook-secret-file', secretFile],
      ...['--webhook-private', '127.0.0.1/32', '--token-creates-per-minute', '2'],
    ];
    const env = { OTEL_BSP_SCHEDULE_DELAY: '100' }; // milliseconds until spans are sent; 5,000 by default
    server = await startServer({ runtime: 'runc', flags, env });
    token = `${server.token.tokenId}:${server.token.tokenSecret}`;
    sandbox = await Sandbox.create({
      url: server.url,
      token,
      image: IMAGE,
      volumes: { '/vol': 'kept' },
      name: 'operated',
    });
    announce(server);
  });
  after(async () => {
    if (server) conceal(server);
    await sandbox?.terminate();
    await server?.stop(); // asserts that nothing is left
    hooks?.close();
    collector?.close();
    if (scratch) rmSync(scratch, { recursive: true, force: true });
  });

  const metrics = async (): Promise<ReadonlyMap<string, number>> => {
    const response = await fetch(`${server.url}/metrics`, { headers: { authorization: `Bearer ${token}` } });
    assert.equal(response.status, 200);
    const lines = (await response.text()).split('\n').filter((line) => line && !line.startsWith('#'));
    return new Map(
      lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
    );
  };

  test('metrics tell a token, and nobody else, what the server does', async () => {
    assert.equal((await fetch(`${server.url}/metrics`)).status, 401);
    const begun = await metrics();
    const { stdout } = await sandbox.exec(['sh', '-c', 'cat; printf 12345'], { stdin: 'abc' });
    assert.equal(stdout, 'abc12345');
    const now = await metrics();
    const grew = (name: string) => (now.get(name) ?? 0) - (begun.get(name) ?? 0);
    assert.equal(grew('skerry_execs_total'), 1);
    assert.equal(grew('skerry_process_output_bytes_total'), 8);
    assert.equal(grew('skerry_process_input_bytes_total'), 3);
    assert.ok((now.get('skerry_sandboxes{state="running",isolation="runc"}') ?? 0) >= 1);
    assert.ok(
      (now.get('skerry_sandbox_start_duration_seconds_count{runtime="runc",warm="false"}') ?? 0) >= 1,
    );
    assert.ok(
      [...now.keys()].some((name) =>
        /^skerry_calls_total\{api="rest",method="POST \/v1\/sandboxes\/:sandboxId\/.*",code="200"\}$/.test(
          name,
        ),
      ),
    );
    for (const name of ['process_resident_memory_bytes', 'nodejs_eventloop_lag_p99_seconds'])
      assert.ok(now.has(name), name);
    assert.ok((now.get('skerry_disk_bytes{what="usable"}') ?? 0) > 0);
  });

  test('a backup has what outlasts sandboxes, and a server elsewhere goes on from it', async (t) => {
    const at = (name: string) => join(scratch, name);
    const [backup, keys, dataDir] = [at('backup'), at('keys'), at('data')] as const;
    await sandbox.exec(['sh', '-c', 'echo made > /made; echo written > /vol/file']);
    const { imageId } = await sandbox.snapshot();
    assert.match(await runSkerry(server, 'backup', backup, '--keys', keys), /Backed up \d+ layers of images/);
    const again = JSON.parse(await runSkerry(server, 'backup', backup, '--json'));
    assert.deepEqual([again.directory, again.copied, again.keys], [backup, 0, []]);
    assert.ok(again.imageLayers > 0);

    const restoring = ['restore', backup, '--keys', keys, '--json'];
    const { dataDir: made, madeAt } = JSON.parse(await runSkerry({ ...server, dataDir }, ...restoring));
    assert.equal(made, dataDir);
    assert.ok(Date.parse(madeAt) <= Date.now());
    const other = await startServer({ runtime: 'runc', dataDir });
    t.after(() => other.stop());
    assert.deepEqual(other.token, server.token);
    await using restored = await Sandbox.create({
      ...{ url: other.url, token, image: imageId },
      volumes: { '/vol': 'kept' },
    });
    const { stdout } = await restored.exec(['cat', '/made', '/vol/file']);
    assert.equal(stdout, 'made\nwritten\n');
  });

  test('the audit log says who did what in which sandbox, and nothing of what it was', async () => {
    await sandbox.exec(['echo', 'confidential']);
    const lines = () => readFileSync(join(server.dataDir, 'audit/audit.log'), 'utf8');
    const mine = () =>
      lines()
        .split('\n')
        .filter((line) => line.includes(sandbox.id))
        .map((line) => JSON.parse(line));
    const isExec = ({ call }: { call: string }) => /^POST .*\/(processes|exec)/.test(call);
    const end = performance.now() + 60_000;
    while (!mine().some(isExec) && performance.now() < end) await delay(50);
    for (const found of [mine().find(({ call }) => call === 'POST /v1/sandboxes'), mine().find(isExec)])
      assert.equal(found?.token, server.token.tokenId, lines());
    assert.doesNotMatch(lines(), /confidential|operated|kept/);
    assert.ok(!lines().includes(server.token.tokenSecret));
  });

  test('a token that makes too many sandboxes is told how long to wait, over each interface', async (t) => {
    const post = async (path: string, bearer: string, body: object) => {
      const headers = { authorization: `Bearer ${bearer}` };
      const json = { 'content-type': 'application/json' };
      const init = { method: 'POST', headers: { ...headers, ...json }, body: JSON.stringify(body) };
      return fetch(`${server.url}${path}`, init);
    };
    const answer = await post('/skerry/v1/tokens', token, { label: 'busy' });
    const issued = (await answer.json()) as { tokenId: string; tokenSecret: string };
    const busy = `${issued.tokenId}:${issued.tokenSecret}`;
    const create = (bearer: string) => post('/v1/sandboxes', bearer, { image: 'im-none' });
    assert.deepEqual([(await create(busy)).status, (await create(busy)).status], [404, 404]);
    const refused = await create(busy);
    assert.equal(refused.status, 429);
    const wait = Number(refused.headers.get('retry-after'));
    assert.ok(wait > 0 && wait <= 30, `${wait} s`);
    assert.equal((await create(token)).status, 404, "the owner's has no bound");

    process.env.MODAL_SERVER_URL = server.url; // this client takes its server from nowhere else
    const client = new ModalClient({ ...issued, maxThrottleWaitSecs: 0 });
    t.after(() => client.close());
    const app = await client.apps.fromName('operated', { createIfMissing: true });
    const made = client.sandboxes.create(app, client.images.fromRegistry(IMAGE));
    await assert.rejects(made, /2 sandboxes of this token may be made in a minute\. Try again in \d+ s\./);
  });

  test('the sandboxes of a token take no more than its quotas, also after a restart', async (t) => {
    const flags = ['--max-sandboxes', '2', '--max-memory', '600', '--creates-per-minute', '100'];
    const made = await runSkerry(server, 'token', 'create', '--label', 'bounded', ...flags, '--json');
    const issued = JSON.parse(made) as { tokenId: string; tokenSecret: string };
    process.env.MODAL_SERVER_URL = server.url; // likewise
    const client = new ModalClient(issued);
    t.after(() => client.close());
    const app = await client.apps.fromName('operated', { createIfMissing: true });
    const create = (memoryMiB: number) =>
      client.sandboxes.create(app, client.images.fromRegistry(IMAGE), {
        memoryMiB,
        memoryLimitMiB: memoryMiB,
      });
    const first = await create(256);
    t.after(() => first.terminate());
    const memory = /quota of memory is 600 MiB; its sandboxes take 256 MiB, and this would take 512 MiB more/;
    await assert.rejects(create(512), memory);
    const all = await Promise.allSettled([create(128), create(128), create(128)]);
    const [second, ...more] = all.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
    assert.ok(second && more.length === 0, 'one of them, since two may run');
    t.after(() => second.terminate());

    await server.restartGracefully();
    announce(server);
    await assert.rejects(create(128), /quota of sandboxes is 2; its sandboxes take 2,/);
    const bearer = `${issued.tokenId}:${issued.tokenSecret}`;
    const sdk = Sandbox.create({ url: server.url, token: bearer, image: IMAGE });
    await assert.rejects(sdk, /quota of sandboxes is 2/);
    const listed = (await runSkerry(server, 'token', 'list')).split('\n');
    assert.match(
      listed.find((line) => line.startsWith(issued.tokenId)) ?? '',
      /2\/2 sandboxes, 384\/600 MiB memory, 100 creates a minute/,
    );
    await first.terminate();
    const third = await create(128);
    await third.terminate();
  });

  test('a token gets another secret, and the one before opens nothing any more', async () => {
    const secretOf = async (...args: string[]) => {
      const { tokenId, tokenSecret } = JSON.parse(await runSkerry(server, 'token', ...args, '--json'));
      return { tokenId: String(tokenId), bearer: `${tokenId}:${tokenSecret}` };
    };
    const statusWith = async (bearer: string) =>
      (await fetch(`${server.url}/metrics`, { headers: { authorization: `Bearer ${bearer}` } })).status;
    const before = await secretOf('create', '--scope', 'read');
    const then = await secretOf('rotate', before.tokenId, '--grace', '1h');
    assert.deepEqual([await statusWith(before.bearer), await statusWith(then.bearer)], [200, 200]);
    const now = await secretOf('rotate', before.tokenId);
    assert.equal(now.tokenId, before.tokenId);
    assert.deepEqual([await statusWith(then.bearer), await statusWith(now.bearer)], [401, 200]);
  });

  describe('the clients at the end of what their token may take', () => {
    /** As a token that may have one sandbox, and make twelve in a minute. */
    const bounded = async () => {
      const flags = ['--max-sandboxes', '1', '--creates-per-minute', '12'];
      const made = await runSkerry(server, 'token', 'create', '--label', 'few', ...flags, '--json');
      const { tokenId, tokenSecret } = JSON.parse(made) as { tokenId: string; tokenSecret: string };
      const env = { MODAL_TOKEN_ID: tokenId, MODAL_TOKEN_SECRET: tokenSecret };
      return { ...server, clientEnv: { ...server.clientEnv, ...env } };
    };
    test('Python', async (t) => pythonCases(t, await bounded(), 'quotas'));
    test('Go', { skip: goExample() === undefined ? 'no Go toolchain' : false }, async (t) =>
      goCases(t, await bounded(), { env: { LIFE_QUOTAS: '1' } }),
    );
  });

  test('an environment has quotas of its own, whoever makes its sandboxes', async (t) => {
    process.env.MODAL_SERVER_URL = server.url; // likewise
    const { tokenId, tokenSecret } = server.token;
    const client = new ModalClient({ tokenId, tokenSecret, maxThrottleWaitSecs: 0 });
    t.after(() => client.close());
    const small = `small-${randomUUID()}`; // the data directory may be one that others had
    await client.cpClient.environmentCreate({ name: small });
    const quota = (...args: string[]) => runSkerry(server, 'environment', 'quota', ...args);
    await quota(small, '--max-sandboxes', '1', '--creates-per-minute', '3'); // those that are refused count
    const create = async (environment: string) => {
      const app = await client.apps.fromName('operated', { environment, createIfMissing: true });
      return client.sandboxes.create(app, client.images.fromRegistry(IMAGE));
    };
    const first = await create(small);
    await assert.rejects(create(small), /The environment's quota of sandboxes is 1; its sandboxes take 1,/);
    const other = await create('');
    const listed = await runSkerry(server, 'environment', 'list');
    assert.match(listed, new RegExp(`^${small} .* 1/1 sandboxes, 3 creates a minute$`, 'm'));
    await Promise.all([first, other].map((each) => each.terminate()));
    await (await create(small)).terminate();
    await assert.rejects(create(small), /3 sandboxes of this environment may be made in a minute/);
    await assert.rejects(quota('none', '--max-sandboxes', '1'), /Environment 'none' not found/);
    await assert.rejects(quota(small), /Name what bounds its sandboxes/);
    assert.deepEqual(JSON.parse(await quota(small, '--no-quotas', '--json')), { name: small, quotas: {} });
    await (await create(small)).terminate();
  });

  test('calls are spans of the trace that a client says, with where the time of creates and execs went, and no secrets', async (t) => {
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    process.env.MODAL_SERVER_URL = server.url; // likewise
    const client = new ModalClient({
      ...{ tokenId: server.token.tokenId, tokenSecret: server.token.tokenSecret },
      grpcMiddleware: [
        (call, options) => {
          const metadata = new Metadata(options.metadata);
          metadata.set('traceparent', `00-${traceId}-00f067aa0ba902b7-01`);
          return call.next(call.request, { ...options, metadata });
        },
      ],
    });
    t.after(() => client.close());
    const app = await client.apps.fromName('operated', { createIfMissing: true });
    const secret = await client.secrets.fromObject({ HIDDEN: 'confidential-1' });
    const image = client.images.fromRegistry(IMAGE);
    const made = await client.sandboxes.create(app, image, { secrets: [secret] });
    t.after(() => made.terminate());
    const exec = await made.exec(['echo', 'confidential-2']);
    assert.equal(await exec.wait(), 0);

    const signal = AbortSignal.timeout(60_000);
    const mine = (name: string, parentId: string) =>
      collector.find(
        (span) => span.name === name && span.parentId === parentId && span.traceId === traceId,
        signal,
      );
    const create = await mine('SandboxCreateV2', '00f067aa0ba902b7');
    assert.equal(create.attributes['skerry.sandbox_id'], made.sandboxId);
    assert.equal(create.attributes['skerry.token_id'], server.token.tokenId);
    const start = await mine('sandbox.start', create.spanId);
    for (const phase of ['plan', 'runtime', 'agent']) {
      const part = await mine(phase, start.spanId);
      assert.ok(part.startedAtNs <= part.endedAtNs && part.endedAtNs <= start.endedAtNs + 50_000_000n, phase);
    }
    // This client's middleware is for the control plane alone: an exec begins a trace.
    const began = await collector.find(
      ({ name, attributes }) =>
        name === 'TaskExecStart' && attributes['skerry.sandbox_id'] === made.sandboxId,
      signal,
    );
    const below = (name: string, { spanId }: ReceivedSpan) =>
      collector.find((span) => span.name === name && span.parentId === spanId, signal);
    await below('sandbox.awake', began);
    await below('process.start', began);
    for (const hidden of ['confidential', server.token.tokenSecret, server.token.apiKey])
      assert.ok(!collector.bytes.includes(hidden), hidden.slice(0, 12));
    await sandbox.exec(['true']);
    const isExec = (span: ReceivedSpan) => /^POST \/v1\/.*\/(processes|exec)/.test(span.name);
    await below('process.start', await collector.find(isExec, signal));
  });

  test('webhooks are told what becomes of a sandbox', async () => {
    const mine = (type: string) =>
      told.find((message) => message.type === type && message.data.sandboxId === sandbox.id);
    const signal = AbortSignal.timeout(60_000);
    for (const type of ['sandbox.starting', 'sandbox.running'])
      while (!mine(type)) await once(hooks, 'told', { signal });
    assert.equal(mine('sandbox.starting')?.data.name, 'operated');
  });

  test('it is ready', async () => {
    const response = await fetch(`${server.url}/readyz`);
    assert.deepEqual(
      [response.status, ((await response.json()) as { status: string }).status],
      [200, 'ready'],
    );
  });
});
