/** Messages to a server of this machine, which judges them as a receiver does. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { SandboxId, TaskId } from '../ids.ts';
import { delay } from '../platform/wait.ts';
import type { LifeEntry } from '../sandboxes/life-log.ts';
import type { Store } from '../store/store.ts';
import { openTestStore } from '../store/testing/open-test-store.ts';
import { createLogger } from '../telemetry/logger.ts';
import { openWebhooks } from './open-webhooks.ts';
import type { Webhooks } from './webhooks.ts';

const KEY = Buffer.alloc(32, 7);

interface Received {
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

const entry = (kind: LifeEntry['kind'], more: Partial<LifeEntry> = {}): LifeEntry => ({
  ...{ kind, timeMs: 1000, sandboxId: 'sb-1' as SandboxId, taskId: 'ta-1' as TaskId },
  ...{ instance: undefined, sidecarOf: undefined, result: undefined },
  ...more,
});

/** @param answer the status of each message, by how many came before; `cut` breaks the connection off */
async function receiver(
  t: TestContext,
  answer: (index: number) => number | 'cut',
  allowed = ['127.0.0.1/32'],
) {
  const received: Received[] = [];
  const arrived = new EventTarget();
  const server = http.createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const status = answer(received.length);
    received.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
    arrived.dispatchEvent(new Event('message'));
    if (status === 'cut') request.socket.destroy();
    else response.writeHead(status, { location: '/elsewhere' }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // TCP, so it has one
  const directory = mkdtempSync(join(tmpdir(), 'skerry-webhooks-'));
  const webhookSecretFile = join(directory, 'secret');
  writeFileSync(webhookSecretFile, `whsec_${KEY.toString('base64')}\n`);
  const log: Record<string, unknown>[] = [];
  const logged = new EventTarget();
  const logger = createLogger('debug', {
    write: (line) => {
      log.push(JSON.parse(line));
      logged.dispatchEvent(new Event('line'));
    },
  });
  let store: Store | undefined;
  let webhooks: Webhooks | undefined;
  const stop = async () => {
    await webhooks?.close();
    store?.close();
  };
  /** A server over what the last one left. */
  const begin = (now = 5000, path = '/hook') => {
    store = openTestStore(directory);
    webhooks = openWebhooks(
      { webhookUrls: [`http://127.0.0.1:${port}${path}`], webhookSecretFile, webhookPrivate: allowed },
      {
        ...{ logger, now: () => now, firstPauseMs: 1, messages: store.webhookMessages },
        find: () => ({ name: 'named', tags: { a: 'b' }, spec: { appId: 'ap-1' } as never }),
      },
    );
    assert.ok(webhooks);
    webhooks.start();
    return webhooks;
  };
  t.after(async () => {
    await stop();
    server.closeAllConnections();
    server.close();
    rmSync(directory, { recursive: true });
  });
  const signal = AbortSignal.timeout(30_000);
  const until = async (count: number) => {
    while (received.length < count) await once(arrived, 'message', { signal });
  };
  const untilLogged = async (event: string) => {
    while (!log.some(({ msg }) => msg === event)) await once(logged, 'line', { signal });
  };
  /** What arrived is known to have. */
  const untilNoneWaits = async () => {
    const waiting = store?.database.prepare('SELECT count(*) AS count FROM webhook_messages');
    while (waiting?.get()?.count !== 0) await delay(5, signal);
  };
  return { webhooks: begin(), begin, stop, untilNoneWaits, received, until, log, untilLogged };
}

test('a message says what happened to which sandbox, and is signed', async (t) => {
  const { webhooks, received, until } = await receiver(t, () => 204);
  webhooks.onEntry(entry('starting'));
  webhooks.onEntry(entry('placed'));
  webhooks.onEntry(entry('ended', { result: { kind: 'exited', exitCode: 3 } }));
  await until(2);
  const [starting, ended] = received.map(({ body }) => JSON.parse(body));
  assert.deepEqual(starting, {
    type: 'sandbox.starting',
    timestamp: '1970-01-01T00:00:01.000Z',
    data: { sandboxId: 'sb-1', taskId: 'ta-1', appId: 'ap-1', name: 'named', tags: { a: 'b' } },
  });
  assert.deepEqual([ended.type, ended.data.result], ['sandbox.ended', { kind: 'exited', exitCode: 3 }]);
  for (const { headers, body } of received) {
    assert.equal(headers['webhook-timestamp'], '5');
    const content = `${headers['webhook-id']}.5.${body}`;
    const signature = createHmac('sha256', KEY).update(content).digest('base64');
    assert.equal(headers['webhook-signature'], `v1,${signature}`);
  }
});

test('what fails is sent again under its id, in order; what is refused is not', async (t) => {
  const statuses = [500, 'cut', 429, 200, 404, 200] as const;
  const { webhooks, received, until, log } = await receiver(t, (index) => statuses[index] ?? 200);
  for (const kind of ['starting', 'running', 'ended'] as const) webhooks.onEntry(entry(kind));
  await until(6);
  const types = received.map(({ body }) => JSON.parse(body).type);
  const first = 'sandbox.starting';
  assert.deepEqual(types, [first, first, first, first, 'sandbox.running', 'sandbox.ended']);
  assert.equal(new Set(received.slice(0, 4).map(({ headers }) => headers['webhook-id'])).size, 1);
  assert.deepEqual(
    log.filter(({ msg }) => msg === 'webhooks.dropped').map(({ type, why }) => [type, why]),
    [['sandbox.running', 'HTTP status 404']],
  );
});

test('no redirect is followed', async (t) => {
  const { webhooks, received, untilLogged } = await receiver(t, () => 302);
  webhooks.onEntry(entry('starting'));
  await untilLogged('webhooks.dropped');
  assert.equal(received.length, 1);
});

test('an address that is not public gets nothing unless that is allowed', async (t) => {
  const { webhooks, received, log, untilLogged } = await receiver(t, () => 200, []);
  webhooks.onEntry(entry('starting'));
  await untilLogged('webhooks.failed');
  assert.match(String(log[0]?.why), /127\.0\.0\.1 is not a public address.*--webhook-private/);
  await webhooks.close();
  assert.equal(received.length, 0);
  assert.ok(log.some(({ msg, kept }) => msg === 'webhooks.kept' && kept === 1));
});

test('the queue of an address that does not answer has an end', async (t) => {
  const { webhooks, log, untilLogged } = await receiver(t, () => 503);
  for (let count = 0; count < 1002; count++) webhooks.onEntry(entry('starting'));
  await untilLogged('webhooks.queue-full');
  assert.equal(log.filter(({ msg }) => msg === 'webhooks.queue-full').length, 2);
});

test('what waits when the server stops is sent by the next one, in order, before anything new', async (t) => {
  let answers = false;
  const { webhooks, begin, stop, received, until, untilNoneWaits } = await receiver(t, () =>
    answers ? 200 : 503,
  );
  for (const kind of ['starting', 'running'] as const) webhooks.onEntry(entry(kind));
  await until(1);
  await stop();
  const before = received.splice(0);
  answers = true;
  begin().onEntry(entry('ended'));
  await until(3);
  const types = received.map(({ body }) => JSON.parse(body).type);
  assert.deepEqual(types, ['sandbox.starting', 'sandbox.running', 'sandbox.ended']);
  assert.equal(received[0]?.headers['webhook-id'], before[0]?.headers['webhook-id']);
  await untilNoneWaits();
  await stop();
  begin().onEntry(entry('ready'));
  await until(4);
  assert.equal(JSON.parse(received[3]?.body ?? '').type, 'sandbox.ready', 'what arrived is not sent again');
});

test('what is older than a day, or for an address that is none any more, is not sent', async (t) => {
  let answers = false;
  const { webhooks, begin, stop, received, until, log } = await receiver(t, () => (answers ? 200 : 503));
  webhooks.onEntry(entry('starting'));
  await until(1);
  await stop();
  begin(5001 + 86_400_000).onEntry(entry('running'));
  await until(received.length + 1);
  await stop();
  received.length = 0;
  answers = true;
  begin(5001 + 86_400_000, '/other').onEntry(entry('ended'));
  await until(1);
  assert.equal(JSON.parse(received[0]?.body ?? '').type, 'sandbox.ended');
  const dropped = log.filter(({ msg }) => msg === 'webhooks.dropped-at-start');
  assert.deepEqual(
    dropped.map(({ dropped: count }) => count),
    [1, 1],
  );
});

test('webhooks without a secret are refused at the start', () => {
  const messages = { add() {}, remove() {}, list: () => [], forget: () => 0 };
  const parts = { logger: createLogger('silent'), now: Date.now, find: () => assert.fail(), messages };
  const config = { webhookUrls: ['https://example.com'], webhookPrivate: [] };
  assert.throws(() => openWebhooks({ ...config, webhookSecretFile: '' }, parts), /must name a file/);
  assert.throws(() => openWebhooks({ ...config, webhookSecretFile: '/dev/null' }, parts), /must hold whsec_/);
  assert.equal(openWebhooks({ ...config, webhookUrls: [], webhookSecretFile: '' }, parts), undefined);
});
