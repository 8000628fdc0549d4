import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Code } from '@connectrpc/connect';
import type { ProcessId } from '../../../ids.ts';
import type { Sandbox } from '../../../sandboxes/sandboxes.ts';
import { atLeast, Domain, deadline } from '../../../sandboxes/testing/domain.ts';
import { createLogger } from '../../../telemetry/logger.ts';
import { FileDescriptor } from '../gen/modal/common_pb.ts';
import { code, execSpecsOf, utf8 } from '../testing/clients.ts';
import { inMemoryClient } from '../testing/in-memory.ts';
import { containerExecHandlers } from './container-exec.ts';

async function setUp(t: TestContext) {
  const domain = await Domain.open();
  t.after(() => domain[Symbol.asyncDispose]());
  return over(domain, await domain.create());
}

/** The API of a server, for one of its sandboxes. */
function over(domain: Domain, sandbox: Sandbox) {
  const { manager: sandboxes, store } = domain;
  const logger = createLogger('silent');
  const client = inMemoryClient(
    containerExecHandlers({ sandboxes, legacyExecs: store.legacyExecs, logger }),
    store.answers,
  );
  const exec = async (options: object = {}) => {
    const { execId } = await client.containerExec({ taskId: sandbox.taskId, command: ['cat'], ...options });
    const process = sandbox.process(execId.slice(execId.indexOf('.') + 1) as ProcessId); // ids made by the handler
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
  /** Its next input, the `index`th message. */
  const put = (execId: string, index: number, message: Uint8Array, eof = false) =>
    client.containerExecPutInput({ execId, input: { messageIndex: BigInt(index), message, eof } });
  /** The same on the next server. */
  const restart = async (t: TestContext) => {
    const next = await domain.restart();
    t.after(() => next[Symbol.asyncDispose]());
    return over(next, next.manager.get(sandbox.id));
  };
  return { domain, client, sandbox, exec, output, put, restart };
}

const bytes = (batches: Awaited<ReturnType<Awaited<ReturnType<typeof setUp>>['output']>>): string =>
  Buffer.concat(batches.flatMap(({ items }) => items.map(({ messageBytes }) => messageBytes))).toString();

test('an exec runs what was asked for, its output ends with the exit code', async (t) => {
  const { domain, sandbox, exec, output, put, client } = await setUp(t);
  const specs = execSpecsOf(sandbox);
  const secret = domain.secrets.createEphemeral(domain.apps.environment('').id, { A: 'out' });
  const { execId } = await exec({
    command: ['sh', '-c', 'read line; printf "$A"; pwd >&2; exit 3'],
    workdir: '/tmp',
    timeoutSecs: 500,
    secretIds: [secret.id],
  });
  assert.deepEqual([specs[0]?.workdir, specs[0]?.timeoutMs, specs[0]?.pty], ['/tmp', 500_000, undefined]);
  assert.deepEqual(specs[0]?.secretSources.at(-1), { kind: 'stored', id: secret.id });
  assert.equal((await client.containerExecWait({ execId, timeout: 0 })).completed, false);
  await put(execId, 1, utf8('go\n'));
  const stdout = await output(execId);
  assert.equal(bytes(stdout), 'out');
  assert.deepEqual([stdout.at(0)?.exitCode, stdout.at(-1)?.exitCode], [undefined, 3]);
  assert.equal(stdout.at(-1)?.items.length, 0, 'clients drop what comes with the exit code');
  assert.equal(bytes(await output(execId, { fileDescriptor: FileDescriptor.STDERR })), '/tmp\n');
  const waited = await client.containerExecWait({ execId, timeout: 10 });
  assert.deepEqual([waited.completed, waited.exitCode], [true, 3]);
});

test('an exec on a terminal has the size that was asked for', async (t) => {
  const { sandbox, exec, output } = await setUp(t);
  const specs = execSpecsOf(sandbox);
  const ptyInfo = { enabled: true, winszRows: 10, winszCols: 20 };
  const { execId } = await exec({ command: ['test', '-t', '0'], ptyInfo });
  assert.deepEqual(specs[0]?.pty, { rows: 10, cols: 20 });
  assert.equal((await output(execId)).at(-1)?.exitCode, 0);
});

test('a reader goes on after the last batch it got, and no message tears a character', async (t) => {
  const { exec, output, put } = await setUp(t);
  const { execId, process } = await exec();
  const text = utf8('aé日z');
  await put(execId, 1, text.subarray(0, 2));
  await atLeast(process.stdout, 2);
  const first = await output(execId, { timeout: 0.5 });
  assert.equal(bytes(first), 'a', 'the first byte of é waits for the second');
  assert.equal(first.at(-1)?.exitCode, undefined, 'a wait that is over is no end of the stream');
  await put(execId, 2, text.subarray(2));
  await atLeast(process.stdout, text.length);
  await process.kill(9, 'process');
  const rest = await output(execId, { lastBatchIndex: first.at(-1)?.batchIndex });
  assert.equal(bytes(rest), 'é日z');
  assert.equal(rest.at(-1)?.exitCode, 137);
  const asText = await output(execId, { getRawBytes: false });
  assert.equal(asText.flatMap(({ items }) => items.map(({ message }) => message)).join(''), 'aé日z');
});

test('input is taken once, in order, until its end', async (t) => {
  const { exec, output, put } = await setUp(t);
  const { execId } = await exec();
  await put(execId, 1, utf8('one '));
  await put(execId, 1, utf8('one '));
  await put(execId, 2, utf8('two'));
  await assert.rejects(put(execId, 4, utf8('four')), code(Code.InvalidArgument, /message 3 is missing/));
  await put(execId, 3, utf8(''), true);
  assert.equal(bytes(await output(execId)), 'one two');
  await assert.rejects(put(execId, 4, utf8('late')), code(Code.FailedPrecondition));
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
  const { exec, put, sandbox } = await setUp(t);
  const { execId } = await exec({ terminateContainerOnExit: true });
  await put(execId, 1, utf8(''), true);
  assert.equal((await sandbox.wait(60_000, deadline()))?.kind, 'terminated');
});

test('also when the server was restarted before that exec ended', async (t) => {
  const before = await setUp(t);
  const { execId } = await before.exec({ terminateContainerOnExit: true });
  const { put, sandbox } = await before.restart(t);
  assert.equal(sandbox.result, undefined);
  await put(execId, 1, utf8(''), true);
  assert.equal((await sandbox.wait(60_000, deadline()))?.kind, 'terminated');
});

test('input that comes again after a restart of the server is taken once', async (t) => {
  const before = await setUp(t);
  const { execId } = await before.exec();
  await before.put(execId, 1, utf8('one '));
  await before.put(execId, 2, utf8('two '));
  const { put, output } = await before.restart(t);
  await put(execId, 1, utf8('one '));
  await put(execId, 2, utf8('two '));
  await assert.rejects(put(execId, 4, utf8('four')), code(Code.InvalidArgument, /message 3 is missing/));
  await put(execId, 3, utf8('three'), true);
  await put(execId, 3, utf8('three'), true);
  assert.equal(bytes(await output(execId)), 'one two three');
});

test('input that a restart cut off in the middle goes on where the program was', async (t) => {
  const before = await setUp(t);
  const command = ['sh', '-c', 'while ! [ -e /tmp/go ]; do sleep 0.02; done; wc -c'];
  const { execId, process } = await before.exec({ command });
  const large = new Uint8Array(1 << 20);
  const cut = before.put(execId, 1, large).catch(() => 'cut off');
  while ((await process.stdinStatus(deadline())).accepted === 0) await new Promise(setImmediate);
  const { put, output, exec } = await before.restart(t);
  assert.equal(await cut, 'cut off');
  await exec({ command: ['touch', '/tmp/go'] });
  await put(execId, 1, large);
  await put(execId, 2, utf8(''), true);
  assert.equal(bytes(await output(execId)).trim(), String(large.length));
});
