import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import type { AppId } from '../../../ids.ts';
import type { OutputReader, Sandbox } from '../../../sandboxes/sandboxes.ts';
import { atLeast, deadline } from '../../../sandboxes/testing/domain.ts';
import { FileDescriptor } from '../gen/modal/common_pb.ts';
import { ModalClient } from '../gen/modal/service_pb.ts';
import type { TaskLogsBatch } from '../gen/modal/tasks_pb.ts';
import { utf8 } from '../testing/clients.ts';
import { type ServedApi, type ServedApiOptions, serveApi } from '../testing/served-api.ts';
import { followText, unfinishedTail } from './log-text.ts';

/** Serves the API for the time of `use`, with a sandbox whose entrypoint is `args`. */
async function withSandbox(
  args: readonly string[],
  use: (client: ReturnType<typeof connect>, made: Sandbox, served: ServedApi) => Promise<void>,
  options?: ServedApiOptions,
): Promise<void> {
  await using served = await serveApi(options);
  const client = connect(served);
  const made = await served.domain.running({ appId: served.appId as AppId, args, verbose: true });
  await use(client, made, served);
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
  const smile = Buffer.from('a😀');
  const bytes = [...smile, 0xff, 0xf0];
  const output: OutputReader = {
    length: bytes.length,
    ended: true,
    async *read() {
      for (const byte of bytes) yield Uint8Array.of(byte);
    },
    times: () => [],
  };
  const pieces = await Array.fromAsync(followText(output, 0, deadline()));
  assert.equal(pieces.map(({ text }) => text).join(''), 'a😀\ufffd\ufffd');
  assert.equal(pieces.at(-1)?.endOffset, smile.length + 2);
});

test('history: lines of output and of Skerry, filtered, the last ones, counted the same', () => {
  let now = Date.now();
  const args = ['sh', '-c', "printf 'one\\ntwo\\nlast without end'; echo oops >&2; exec sleep 1000"];
  const history = async (client: ReturnType<typeof connect>, made: Sandbox, { appId }: ServedApi) => {
    await atLeast(made.stdout, 'one\ntwo\nlast without end'.length);
    await atLeast(made.stderr, 'oops\n'.length);
    const startedAtMs = made.startedAtMs ?? assert.fail();
    now = startedAtMs + 5000;
    made.logVerbose('limit', 'output bound reached');
    const fetch = async (fields: Parameters<typeof client.appFetchLogs>[0]) =>
      (await client.appFetchLogs({ appId, ...fields })).batches;
    const all = await fetch({});
    assert.equal(textOf(all).length, 'one\ntwo\nlast without endoops\noutput bound reached\n'.length);
    assert.ok(all.every(({ taskId, sandboxId }) => taskId === made.taskId && sandboxId === made.id));
    assert.equal(textOf(await fetch({ source: FileDescriptor.STDOUT })), 'one\ntwo\nlast without end');
    assert.equal(textOf(await fetch({ source: FileDescriptor.STDERR, taskId: made.taskId })), 'oops\n');
    assert.equal(textOf(await fetch({ limit: 1 })), 'output bound reached\n');
    assert.equal(textOf(await fetch({ searchText: 'tw' })), 'two\n');
    assert.equal(textOf(await fetch({ functionId: 'fu-1' })), '');
    const since = { seconds: BigInt(startedAtMs) / 1000n + 3n, nanos: 0 };
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
    await assert.rejects(client.appFetchLogs({ appId: 'ap-other', taskId: made.taskId }), /not in app/);
  };
  return withSandbox(args, history, { now: () => now });
});

test('a line has the time when it was complete, however long its sandbox ran by then', async () => {
  let now = Date.now();
  const args = ['sh', '-c', "printf 'early\nhalf '; read -r word; echo and whole; exec sleep 1000"];
  const use = async (client: ReturnType<typeof connect>, made: Sandbox, { appId }: ServedApi) => {
    await atLeast(made.stdout, 'early\nhalf '.length);
    now += 3_600_000;
    const since = timestampFromMs(now);
    await made.entrypoint?.writeStdin(0, utf8('go\n'), deadline());
    await atLeast(made.stdout, 'early\nhalf and whole\n'.length);
    const between = async (range: object) =>
      textOf((await client.appFetchLogs({ appId, source: FileDescriptor.STDOUT, ...range })).batches);
    assert.equal(await between({ since }), 'half and whole\n');
    // What the Python client makes of this time.
    assert.equal(await between({ since: { ...since, nanos: since.nanos + 119 } }), 'half and whole\n');
    assert.equal(await between({ until: since }), 'early\n');
    await made.terminate();
    assert.equal(await between({ since }), 'half and whole\n');
    // What the Python client makes of this time.
    assert.equal(await between({ since: { ...since, nanos: since.nanos + 119 } }), 'half and whole\n');
  };
  await withSandbox(args, use, { now: () => now });
});

test('following an app: output as it comes, resumed without loss or repetition, ended when the app is', () =>
  withSandbox(['cat'], async (client, made, { appId, apps }) => {
    let index = 0;
    const put = (input: string) =>
      client.sandboxStdinWrite({ sandboxId: made.id, index: ++index, input: utf8(input) });
    await put('early\n');
    const first = await readUntil(client.appGetLogs({ appId, timeout: 55 }), 'early\n');
    await put('later\n');
    const lastEntryId = first.at(-1)?.entryId ?? '';
    const second = client.appGetLogs({ appId, timeout: 55, lastEntryId });
    const batches: TaskLogsBatch[] = [];
    for await (const batch of second) {
      batches.push(batch);
      if (textOf(batches) === 'later\n') {
        await put('end\n');
        await client.sandboxStdinWrite({ sandboxId: made.id, index: ++index, eof: true });
        await made.wait(60_000, deadline());
        apps.setState(apps.lookup('', 'test-app', false).id, 'stopped');
      }
    }
    assert.equal(textOf(batches), 'later\nend\n');
    assert.equal(batches.at(-1)?.appDone, true);
  }));

test('following with a short time-out ends normally', () =>
  withSandbox(['cat'], async (client, _made, { appId }) => {
    assert.deepEqual(await readUntil(client.appGetLogs({ appId, timeout: 0.01 }), 'never'), []);
  }));

test('V1 stdio: text from the last entry on, then eof; input in order', () =>
  withSandbox(['cat'], async (client, made) => {
    const sandboxId = made.id;
    const put = (index: number, input: string) =>
      client.sandboxStdinWrite({ sandboxId, index, input: utf8(input) });
    const read = (lastEntryId: string) =>
      client.sandboxGetLogs({ sandboxId, fileDescriptor: FileDescriptor.STDOUT, timeout: 55, lastEntryId });
    await put(1, 'hello ');
    const [first] = await readUntil(read('0-0'), 'hello ');
    await put(2, 'world');
    await client.sandboxStdinWrite({ sandboxId, index: 3, eof: true });
    const rest = await readUntil(read(first?.entryId ?? ''), 'never');
    assert.equal(textOf(rest), 'world');
    assert.equal(rest.at(-1)?.eof, true);
    assert.deepEqual(await made.wait(60_000, deadline()), { kind: 'exited', exitCode: 0 });
    await assert.rejects(client.sandboxStdinWrite({ sandboxId, index: 4 }), /already completed/);
  }));
