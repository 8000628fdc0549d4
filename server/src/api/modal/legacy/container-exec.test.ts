import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Code } from '@connectrpc/connect';
import type { AppId, EnvironmentId, ImageId, ProcessId } from '../../../ids.ts';
import { openStore } from '../../../store/store.ts';
import { createLogger } from '../../../telemetry/logger.ts';
import { FileDescriptor } from '../gen/modal/common_pb.ts';
import { code, utf8 } from '../testing/clients.ts';
import { FakeSandboxes } from '../testing/fake-sandboxes.ts';
import { inMemoryClient } from '../testing/in-memory.ts';
import { containerExecHandlers } from './container-exec.ts';

async function setUp(t: TestContext) {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-container-exec-'));
  const store = openStore(dataDir);
  t.after(() => {
    store.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const sandboxes = new FakeSandboxes();
  const sandbox = await sandboxes.create({
    appId: 'ap-1' as AppId,
    environmentId: 'en-1' as EnvironmentId,
    imageId: 'im-1' as ImageId,
    name: undefined,
    tags: {},
    args: [],
    secretSources: [],
    workdir: undefined,
    timeoutMs: 60_000,
    idleTimeoutMs: undefined,
    resources: { memoryMiB: 0, memoryLimitMiB: 0, milliCpu: 0, milliCpuLimit: 0 },
    network: { kind: 'open' },
    runtime: undefined,
    pty: undefined,
    verbose: false,
    readinessProbe: undefined,
    mountIds: [],
    externalKey: undefined,
  });
  const client = inMemoryClient(
    containerExecHandlers({ sandboxes, logger: createLogger('silent') }),
    store.answers,
  );
  const exec = async (options: object = {}) => {
    const { execId } = await client.containerExec({ taskId: sandbox.taskId, command: ['cat'], ...options });
    const process = sandbox.process(execId.slice(execId.indexOf('.') + 1) as ProcessId);
    return { execId, process };
  };
  const output = async (execId: string, options: object = {}) =>
    Array.fromAsync(
      client.containerExecGetOutput({
        execId,
        timeout: 55,
        getRawBytes: true,
        fileDescriptor: FileDescriptor.STDOUT,
        ...options,
      }),
    );
  return { client, sandbox, exec, output };
}

const bytes = (batches: Awaited<ReturnType<Awaited<ReturnType<typeof setUp>>['output']>>): string =>
  Buffer.concat(batches.flatMap(({ items }) => items.map(({ messageBytes }) => messageBytes))).toString();

test('an exec runs what was asked for, its output ends with the exit code', async (t) => {
  const { exec, output, client } = await setUp(t);
  const { execId, process } = await exec({
    command: ['sh', '-c', 'x'],
    workdir: '/tmp',
    timeoutSecs: 5,
    secretIds: ['st-1'],
    ptyInfo: { enabled: true, winszRows: 10, winszCols: 20 },
  });
  assert.deepEqual(process.spec?.argv, ['sh', '-c', 'x']);
  assert.deepEqual([process.spec.workdir, process.spec.timeoutMs], ['/tmp', 5000]);
  assert.deepEqual(process.spec.pty, { rows: 10, cols: 20 });
  assert.deepEqual(process.spec.secretSources.at(-1), { kind: 'stored', id: 'st-1' });
  assert.equal((await client.containerExecWait({ execId, timeout: 0 })).completed, false);
  process.stdout.write('out');
  process.stderr.write('err');
  process.finish({ kind: 'code', code: 3, timedOut: false });
  const stdout = await output(execId);
  assert.equal(bytes(stdout), 'out');
  assert.deepEqual(
    stdout.map(({ exitCode }) => exitCode),
    [undefined, undefined, 3],
  );
  assert.equal(stdout.at(-1)?.items.length, 0, 'clients drop what comes with the exit code');
  assert.equal(bytes(await output(execId, { fileDescriptor: FileDescriptor.STDERR })), 'err');
  const waited = await client.containerExecWait({ execId, timeout: 10 });
  assert.deepEqual([waited.completed, waited.exitCode], [true, 3]);
});

test('a reader goes on after the last batch it got, and no message tears a character', async (t) => {
  const { exec, output } = await setUp(t);
  const { execId, process } = await exec();
  const text = utf8('aé日z');
  process.stdout.write(text.subarray(0, 2));
  const first = await output(execId, { timeout: 0.05 });
  assert.equal(bytes(first), 'a', 'the first byte of é waits for the second');
  assert.equal(first.at(-1)?.exitCode, undefined, 'a wait that is over is no end of the stream');
  process.stdout.write(text.subarray(2));
  process.finish({ kind: 'signal', signal: 9, timedOut: true });
  const rest = await output(execId, { lastBatchIndex: first.at(-1)?.batchIndex });
  assert.equal(bytes(rest), 'é日z');
  assert.equal(rest.at(-1)?.exitCode, 137);
  const asText = await output(execId, { getRawBytes: false });
  assert.equal(asText.flatMap(({ items }) => items.map(({ message }) => message)).join(''), 'aé日z');
});

test('input is taken once, in order, until its end', async (t) => {
  const { exec, client } = await setUp(t);
  const { execId, process } = await exec();
  const put = (messageIndex: bigint, text: string, eof = false) =>
    client.containerExecPutInput({ execId, input: { messageIndex, message: utf8(text), eof } });
  await put(1n, 'one ');
  await put(1n, 'one ');
  await put(2n, 'two');
  await assert.rejects(put(4n, 'four'), code(Code.InvalidArgument, /message 3 is missing/));
  await put(3n, '', true);
  assert.equal(process.inputText, 'one two');
  assert.equal((await process.stdinStatus()).closed, true);
  await assert.rejects(put(4n, 'late'), code(Code.FailedPrecondition));
});

test('what is no exec is not found, and a command without a program is refused', async (t) => {
  const { client, sandbox } = await setUp(t);
  await assert.rejects(client.containerExecWait({ execId: `${sandbox.taskId}.ex-1` }), code(Code.NotFound));
  await assert.rejects(client.containerExecWait({ execId: 'ex-1' }), code(Code.NotFound));
  await assert.rejects(
    client.containerExecWait({ execId: `${sandbox.taskId}.entrypoint` }),
    code(Code.InvalidArgument),
  );
  await assert.rejects(
    client.containerExec({ taskId: sandbox.taskId, command: [] }),
    code(Code.InvalidArgument, /must name a program/),
  );
});

test('an exec that the sandbox lives for ends it', async (t) => {
  const { exec, sandbox } = await setUp(t);
  const { process } = await exec({ terminateContainerOnExit: true });
  const ended = sandbox.wait(60_000, new AbortController().signal);
  process.finish({ kind: 'code', code: 0, timedOut: false });
  assert.equal((await ended)?.kind, 'terminated');
});
