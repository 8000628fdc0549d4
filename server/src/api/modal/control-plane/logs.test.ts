import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { FileDescriptor } from '../gen/modal/common_pb.ts';
import { ModalClient } from '../gen/modal/service_pb.ts';
import type { TaskLogsBatch } from '../gen/modal/tasks_pb.ts';
import { FakeOutput, type FakeSandbox } from '../testing/fake-sandboxes.ts';
import { type ServedApi, serveApi } from '../testing/served-api.ts';
import { followText, unfinishedTail } from './log-text.ts';

async function withSandbox(
  use: (client: ReturnType<typeof connect>, fake: FakeSandbox, served: ServedApi) => Promise<void>,
): Promise<void> {
  await using served = await serveApi();
  const client = connect(served);
  await client.sandboxCreate({ appId: served.appId, definition: { imageId: 'im-test' } });
  const [fake] = served.sandboxes.all;
  assert.ok(fake);
  await use(client, fake, served);
}

function connect(served: ServedApi) {
  return createClient(
    ModalClient,
    createGrpcTransport({
      baseUrl: `http://localhost:${served.port}`,
      interceptors: [
        (next) => (request) => {
          for (const [name, value] of Object.entries(served.credentials)) request.header.set(name, value);
          return next(request);
        },
      ],
    }),
  );
}

const textOf = (batches: readonly TaskLogsBatch[]): string =>
  batches.flatMap(({ items }) => items.map(({ data }) => data)).join('');

/** Reads a stream until the text is complete, then leaves it; resolves to the batches. */
async function readUntil(stream: AsyncIterable<TaskLogsBatch>, expected: string): Promise<TaskLogsBatch[]> {
  const batches: TaskLogsBatch[] = [];
  for await (const batch of stream) {
    batches.push(batch);
    if (textOf(batches).endsWith(expected)) break;
  }
  return batches;
}

test('text is cut between characters, and what is no UTF-8 is replaced', async () => {
  assert.equal(unfinishedTail(Buffer.from('aé').subarray(0, 2)), 1);
  assert.equal(unfinishedTail(Buffer.from('€').subarray(0, 2)), 2);
  assert.equal(unfinishedTail(Buffer.from('😀').subarray(0, 3)), 3);
  assert.equal(unfinishedTail(Buffer.from('😀')), 0);
  assert.equal(unfinishedTail(Buffer.from([0x80, 0x80, 0x80, 0x80])), 0);
  const output = new FakeOutput();
  const pieces: { text: string; endOffset: number }[] = [];
  const reading = (async () => {
    for await (const piece of followText(output, 0, AbortSignal.timeout(10_000))) pieces.push(piece);
  })();
  const smile = Buffer.from('a😀');
  for (const byte of [...smile, 0xff, 0xf0]) {
    output.write(Uint8Array.of(byte));
    await new Promise(setImmediate);
  }
  output.end();
  await reading;
  assert.equal(pieces.map(({ text }) => text).join(''), 'a😀\ufffd\ufffd');
  assert.equal(pieces.at(-1)?.endOffset, smile.length + 2);
});

test('history: lines of output and of Skerry, filtered, the last ones, counted the same', () =>
  withSandbox(async (client, fake, { appId }) => {
    fake.stdout.write('one\ntwo\nlast without end');
    fake.stderr.write('oops\n');
    fake.log.push({ timeMs: fake.createdAtMs + 5000, kind: 'limit', text: 'output bound reached' });
    const fetch = async (fields: Parameters<typeof client.appFetchLogs>[0]) =>
      (await client.appFetchLogs({ appId, ...fields })).batches;
    const all = await fetch({});
    assert.equal(textOf(all).length, 'one\ntwo\nlast without endoops\noutput bound reached\n'.length);
    assert.ok(all.every(({ taskId, sandboxId }) => taskId === fake.taskId && sandboxId === fake.id));
    assert.equal(textOf(await fetch({ source: FileDescriptor.STDOUT })), 'one\ntwo\nlast without end');
    assert.equal(textOf(await fetch({ source: FileDescriptor.STDERR, taskId: fake.taskId })), 'oops\n');
    assert.equal(textOf(await fetch({ limit: 1 })), 'output bound reached\n');
    assert.equal(textOf(await fetch({ searchText: 'tw' })), 'two\n');
    assert.equal(textOf(await fetch({ functionId: 'fu-1' })), '');
    const since = { seconds: BigInt(fake.createdAtMs) / 1000n + 3n, nanos: 0 };
    assert.equal(textOf(await fetch({ since })), 'output bound reached\n');
    assert.equal(
      textOf(await fetch({ since: { seconds: since.seconds - 10n }, until: since })).includes('bound'),
      false,
    );
    const { buckets } = await client.appCountLogs({
      appId,
      bucketSecs: 2,
      since: { seconds: 1n },
      until: { seconds: 1n << 32n },
    });
    const sum = (key: 'stdoutLogs' | 'stderrLogs' | 'systemLogs') =>
      buckets.reduce((total, bucket) => total + Number(bucket[key]), 0);
    assert.deepEqual([sum('stdoutLogs'), sum('stderrLogs'), sum('systemLogs')], [3, 1, 1]);
    assert.ok(buckets.every(({ bucketStartAt }) => Number(bucketStartAt?.seconds) % 2 === 0));
    await assert.rejects(client.appFetchLogs({ appId: 'ap-other', taskId: fake.taskId }), /not in app/);
  }));

test('following an app: output as it comes, resumed without loss or repetition, ended when the app is', () =>
  withSandbox(async (client, fake, { appId, apps }) => {
    fake.stdout.write('early\n');
    const first = await readUntil(client.appGetLogs({ appId, timeout: 55 }), 'early\n');
    fake.stdout.write('later\n');
    const lastEntryId = first.at(-1)?.entryId ?? '';
    const second = client.appGetLogs({ appId, timeout: 55, lastEntryId });
    const batches: TaskLogsBatch[] = [];
    for await (const batch of second) {
      batches.push(batch);
      if (textOf(batches) === 'later\n') {
        fake.stdout.write('end\n');
        fake.end({ kind: 'exited', exitCode: 0 });
        apps.setState(apps.lookup('', 'test-app', false).id, 'stopped');
      }
    }
    assert.equal(textOf(batches), 'later\nend\n');
    assert.equal(batches.at(-1)?.appDone, true);
  }));

test('following with a short time-out ends normally', () =>
  withSandbox(async (client, _fake, { appId }) => {
    assert.deepEqual(await readUntil(client.appGetLogs({ appId, timeout: 0.01 }), 'never'), []);
  }));

test('V1 stdio: text from the last entry on, then eof; input in order', () =>
  withSandbox(async (client, fake) => {
    const sandboxId = fake.id;
    fake.stdout.write('hello ');
    const read = (lastEntryId: string) =>
      client.sandboxGetLogs({ sandboxId, fileDescriptor: FileDescriptor.STDOUT, timeout: 55, lastEntryId });
    const [first] = await readUntil(read('0-0'), 'hello ');
    await client.sandboxStdinWrite({ sandboxId, index: 1, input: new TextEncoder().encode('in') });
    await client.sandboxStdinWrite({ sandboxId, index: 2, eof: true });
    assert.equal(fake.entrypoint.inputText, 'in');
    assert.equal((await fake.entrypoint.stdinStatus()).closed, true);
    fake.stdout.write('world');
    fake.end({ kind: 'exited', exitCode: 0 });
    const rest = await readUntil(read(first?.entryId ?? ''), 'never');
    assert.equal(textOf(rest), 'world');
    assert.equal(rest.at(-1)?.eof, true);
    await assert.rejects(client.sandboxStdinWrite({ sandboxId, index: 3 }), /already completed/);
  }));
