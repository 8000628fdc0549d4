import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient, type Interceptor } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { SkerryError } from '../../errors/skerry-error.ts';
import { GenericResult_GenericStatus as Status } from './gen/modal/common_pb.ts';
import {
  SandboxCreateResponseSchema,
  type Sandbox as SandboxMessage,
  SandboxSchema,
} from './gen/modal/sandboxes_pb.ts';
import { ModalClient } from './gen/modal/service_pb.ts';
import { TaskCommandRouter, TaskExecStderrConfig } from './gen/modal/task_command_router_pb.ts';
import { Idempotency } from './idempotency.ts';
import { toGenericResult } from './results.ts';
import { routerUrl } from './router-access.ts';
import { type ServedApi, type ServedApiOptions, serveApi } from './testing/served-api.ts';

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

function transport(served: ServedApi, headers: Readonly<Record<string, string>>) {
  const withHeaders: Interceptor = (next) => (request) => {
    for (const [name, value] of Object.entries(headers)) request.header.set(name, value);
    return next(request);
  };
  return createGrpcTransport({ baseUrl: `http://localhost:${served.port}`, interceptors: [withHeaders] });
}

const controlPlane = (served: ServedApi, headers: Readonly<Record<string, string>> = served.credentials) =>
  createClient(ModalClient, transport(served, headers));

const router = (served: ServedApi, jwt: string) =>
  createClient(TaskCommandRouter, transport(served, { authorization: `Bearer ${jwt}` }));

const code =
  (expected: Code, message?: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof ConnectError, String(error));
    assert.equal(Code[error.code], Code[expected], error.message);
    if (message) assert.match(error.rawMessage, message);
    return true;
  };

async function withApi(use: (served: ServedApi) => Promise<void>, options?: ServedApiOptions): Promise<void> {
  await using served = await serveApi(options);
  await use(served);
}

const definition = { imageId: 'im-test', timeoutSecs: 300, entrypointArgs: ['cat'] };

/** A sandbox with its router client. */
async function sandbox(served: ServedApi, extra: Partial<{ name: string; verbose: boolean }> = {}) {
  const client = controlPlane(served);
  const created = await client.sandboxCreateV2({
    appId: served.appId,
    definition: { ...definition, ...extra },
  });
  const fake = served.sandboxes.all.at(-1);
  assert.ok(fake && created.commandRouterAccess);
  return { client, created, fake, exec: router(served, created.commandRouterAccess.jwt) };
}

async function collect(stream: AsyncIterable<{ readonly data: Uint8Array }>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const { data } of stream) {
    assert.notEqual(data.length, 0, 'clients fail on empty chunks');
    chunks.push(data);
  }
  return Buffer.concat(chunks).toString('utf8');
}

test('calls without or with wrong credentials are refused with what to do; each kind of client can have its token', () =>
  withApi(async (served) => {
    await assert.rejects(controlPlane(served, {}).clientHello({}), code(Code.Unauthenticated, /skerry env/));
    const wrong = { ...served.credentials, 'x-modal-token-secret': 'as-wrong' };
    await assert.rejects(controlPlane(served, wrong).clientHello({}), code(Code.Unauthenticated, /wrong/));
    const { token } = await controlPlane(served).authTokenGet({});
    assert.equal(token.split('.').length, 3);
  }));

test('an RPC that Skerry does not have is UNIMPLEMENTED by name, counted, and logged once', () =>
  withApi(async (served) => {
    const client = controlPlane(served);
    for (const _ of [1, 2])
      await assert.rejects(client.clusterList({}), code(Code.Unimplemented, /ClusterList/));
    const call = (path: string) =>
      fetch(`http://127.0.0.1:${served.port}/modal.client.ModalClient/${path}`, {
        method: 'POST',
        headers: { ...served.credentials, 'content-type': 'application/json' },
        body: '{}',
      });
    assert.match(await (await call('FunctionMap')).text(), /unimplemented.*FunctionMap/);
    assert.deepEqual(
      [...served.api.unknownRpcs()],
      [
        ['ClusterList', 2],
        ['FunctionMap', 1],
      ],
    );
    assert.equal(served.log.filter(({ msg }) => msg === 'rpc not implemented').length, 2);
  }));

test('errors keep their words and status; a bug shows an error code and nothing else, and the log has it all', () =>
  withApi(
    async (served) => {
      const client = controlPlane(served);
      await assert.rejects(client.secretList({}), code(Code.ResourceExhausted, /Too many.*End sandboxes/));
      let seen = '';
      await assert.rejects(client.secretDelete({}), (error) => {
        seen = /Error code: ([A-Z0-9]{8})$/.exec(String(error))?.[1] ?? '';
        return code(Code.Internal)(error) && !String(error).includes('/secret/path');
      });
      const logged = served.log.find(({ errorCode }) => errorCode === seen);
      assert.match(String(logged?.error), /\/secret\/path[\s\S]*at /);
    },
    {
      handlers: {
        secretList: () => {
          throw new SkerryError('resource-exhausted', 'Too many');
        },
        secretDelete: () => {
          throw new TypeError('bug at /secret/path');
        },
      },
    },
  ));

test('every call leaves one event with method, outcome, duration and client', () =>
  withApi(async (served) => {
    await controlPlane(served, {
      ...served.credentials,
      'x-modal-client-type': '8',
      'x-modal-libmodal-version': 'modal-js/0.11.1',
    }).clientHello({});
    const events = served.log.filter(({ rpc }) => rpc === 'ClientHello');
    assert.equal(events.length, 1);
    const [event] = events;
    assert.equal(event?.outcome, 'OK');
    assert.equal(event?.client, 'javascript');
    assert.equal(event?.clientVersion, 'modal-js/0.11.1');
    assert.equal(typeof event?.durationMs, 'number');
  }));

test('create: ids of the shapes the clients tell V1 and V2 by, access at once, result unset while it runs', () =>
  withApi(async (served) => {
    const { client, created, fake } = await sandbox(served);
    assert.doesNotMatch(created.sandboxId, /^sb-[0-9A-Za-z]{22}$/);
    assert.match(created.taskId, /^ta-[0-9A-Za-z]+V$/);
    assert.equal(created.metadata?.appId, served.appId);
    assert.equal(created.metadata?.result, undefined);
    const { sandboxId } = created;
    const waited = await client.sandboxWaitV2({ sandboxId, timeout: 0 });
    assert.equal(waited.result, undefined, 'a present result ends wait() in JavaScript and Go');
    assert.equal(waited.metadata?.result, undefined);
    assert.equal(waited.metadata?.appId, served.appId);
    const task = await client.sandboxGetTaskIdV2({ sandboxId });
    assert.deepEqual([task.taskId, task.taskResult], [created.taskId, undefined]);

    fake.end({ kind: 'exited', exitCode: 3 });
    const ended = await client.sandboxWaitV2({ sandboxId, timeout: 10 });
    assert.equal(ended.result?.status, Status.FAILURE);
    assert.equal(ended.result?.exitcode, 3);
    assert.equal(
      (await client.sandboxGetTaskIdV2({ sandboxId })).taskId,
      created.taskId,
      'also after its end',
    );
    assert.equal((await client.sandboxTerminateV2({ sandboxId })).existingResult?.status, Status.FAILURE);
  }));

test('a long poll is answered when the sandbox ends, and both generations of RPC see the same sandbox', () =>
  withApi(async (served) => {
    const client = controlPlane(served);
    const { sandboxId } = await client.sandboxCreate({ appId: served.appId, definition });
    const waiting = client.sandboxWait({ sandboxId, timeout: 55 });
    await client.sandboxTerminateV2({ sandboxId });
    assert.equal((await waiting).result?.status, Status.TERMINATED);
  }));

test('unknown ids and names are NOT_FOUND for both generations', () =>
  withApi(async (served) => {
    const client = controlPlane(served);
    const sandboxId = 'sb-none';
    for (const call of [
      client.sandboxWaitV2({ sandboxId }),
      client.sandboxGetTaskId({ sandboxId }),
      client.sandboxTerminate({ sandboxId }),
      client.sandboxGetFromName({ appName: 'test-app', sandboxName: 'x' }),
      client.sandboxGetFromNameV2({ appName: 'no-app', sandboxName: 'x' }),
      client.sandboxGetCommandRouterAccess({ target: { case: 'taskId', value: 'ta-none' } }),
    ]) {
      await assert.rejects(call, code(Code.NotFound));
    }
    await assert.rejects(client.sandboxGetCommandRouterAccess({}), code(Code.InvalidArgument));
  }));

test('names and tags: one running sandbox per name; tags filter lists', () =>
  withApi(async (served) => {
    const { client, created, fake } = await sandbox(served, { name: 'worker' });
    await assert.rejects(sandbox(served, { name: 'worker' }), code(Code.AlreadyExists));
    const found = await client.sandboxGetFromNameV2({ appName: 'test-app', sandboxName: 'worker' });
    assert.equal(found.sandboxId, created.sandboxId);
    const tags = [{ tagName: 'team', tagValue: 'a' }];
    await client.sandboxTagsSetV2({ sandboxId: created.sandboxId, tags });
    const { sandboxId: unnamed } = (await sandbox(served, { name: '' })).created; // Go sends "" for no name
    const listed = await client.sandboxListV2({ appId: served.appId, tags });
    assert.deepEqual(
      listed.sandboxes.map(({ id, name }) => [id, name]),
      [[created.sandboxId, 'worker']],
    );
    assert.equal((await client.sandboxTagsGetV2({ sandboxId: created.sandboxId })).tags[0]?.tagValue, 'a');
    await assert.rejects(
      client.sandboxTagsSetV2({ sandboxId: unnamed, tags: [...tags, ...tags] }),
      code(Code.InvalidArgument, /twice/),
    );
    fake.end({ kind: 'terminated' });
    const gone = { appName: 'test-app', sandboxName: 'worker' };
    await assert.rejects(client.sandboxGetFromNameV2(gone), code(Code.NotFound));
    assert.ok((await client.sandboxGetFromNameV2({ ...gone, includeTerminated: true })).sandboxId);
    await client.sandboxSetName({ sandboxId: unnamed, name: 'renamed' });
    await assert.rejects(
      client.sandboxSetName({ sandboxId: unnamed, name: 'a b' }),
      code(Code.InvalidArgument),
    );
  }));

test('lists page by creation time and end with an empty page', () =>
  withApi(async (served) => {
    const client = controlPlane(served);
    const expected = 101;
    for (let index = 0; index < expected; index++) await sandbox(served);
    const seen: number[] = [];
    for (let beforeTimestamp = 0; ; ) {
      const { sandboxes } = await client.sandboxListV2({ environmentName: '', beforeTimestamp });
      const last = sandboxes.at(-1);
      if (!last) break;
      seen.push(...sandboxes.map(({ createdAt }) => createdAt));
      beforeTimestamp = last.createdAt;
    }
    assert.equal(seen.length, expected);
    assert.ok(seen.every((at, index) => index === 0 || at < (seen[index - 1] ?? 0)));
  }));

test('exec: start, read, wait; the same id again is the same process', () =>
  withApi(async (served) => {
    const { created, fake, exec } = await sandbox(served);
    const { taskId } = created;
    const start = () =>
      exec.taskExecStart({
        taskId,
        execId: 'e-1',
        commandArgs: ['sh', '-c', 'true'],
        stderrConfig: TaskExecStderrConfig.PIPE,
        workdir: '/srv',
        timeoutSecs: 7,
        secretSources: [{ source: { case: 'env', value: { contents: { A: 'b' } } } }],
      });
    await start();
    await start();
    assert.equal(fake.execs.size, 1);
    const [process] = fake.processes();
    assert.deepEqual(process?.spec, {
      argv: ['sh', '-c', 'true'],
      secretSources: [{ kind: 'inline', env: { A: 'b' } }],
      workdir: '/srv',
      timeoutMs: 7000,
      pty: undefined,
      stdout: 'null',
      stderr: 'pipe',
    });
    assert.equal((await exec.taskExecPoll({ taskId, execId: 'e-1' })).exitStatus.case, undefined);
    const reading = collect(exec.taskExecStdioRead({ taskId, execId: 'e-1' }));
    const waiting = exec.taskExecWait({ taskId, execId: 'e-1' });
    process?.stdout.write('hello ');
    process?.stdout.write('world');
    process?.finish({ kind: 'code', code: 5, timedOut: false });
    assert.equal(await reading, 'hello world');
    assert.deepEqual((await waiting).exitStatus, { case: 'code', value: 5 });
    assert.equal(await collect(exec.taskExecStdioRead({ taskId, execId: 'e-1', offset: 6n })), 'world');
  }));

test('an ended sandbox: exec says why it ended, waits end at once, output and access stay', () =>
  withApi(async (served) => {
    const { client, created, fake, exec } = await sandbox(served);
    const { taskId, sandboxId } = created;
    await exec.taskExecStart({ taskId, execId: 'e', commandArgs: ['sleep'] });
    fake.stdout.write('kept');
    const waiting = exec.taskExecWait({ taskId, execId: 'e' });
    fake.end({ kind: 'out-of-memory' });
    assert.deepEqual((await waiting).exitStatus, { case: 'signal', value: 9 });
    assert.deepEqual((await exec.taskExecWait({ taskId, execId: 'e' })).exitStatus, {
      case: 'signal',
      value: 9,
    });
    await assert.rejects(
      exec.taskExecStart({ taskId, execId: 'late', commandArgs: ['true'] }),
      code(Code.NotFound, /exceeded its memory limit/),
    );
    const access = await client.sandboxGetCommandRouterAccess({
      target: { case: 'sandboxId', value: sandboxId },
    });
    assert.equal(await collect(router(served, access.jwt).sandboxStdioReadV2({ taskId })), 'kept');
    await assert.rejects(
      exec.sandboxStdinWriteV2({ taskId, data: utf8('x') }),
      code(Code.FailedPrecondition, /ended/),
    );
    await assert.rejects(exec.taskExecWait({ taskId, execId: 'never' }), code(Code.NotFound));
  }));

test('sandbox stdio starts at the offset asked for and counts on', () =>
  withApi(async (served) => {
    const { created, fake, exec } = await sandbox(served);
    fake.stdout.write('x'.repeat(300 << 10));
    fake.end({ kind: 'exited', exitCode: 0 });
    let position = 10n;
    for await (const { data, startingOffset } of exec.sandboxStdioReadV2({
      taskId: created.taskId,
      offset: 10n,
    })) {
      assert.equal(startingOffset, position);
      position += BigInt(data.length);
    }
    assert.equal(position, BigInt(300 << 10));
  }));

test('a token opens its own sandbox only', () =>
  withApi(async (served) => {
    const first = await sandbox(served);
    const second = await sandbox(served);
    const theirs = { taskId: second.created.taskId, execId: 'e', commandArgs: ['true'] };
    await assert.rejects(first.exec.taskExecStart(theirs), code(Code.PermissionDenied));
    await assert.rejects(
      collect(first.exec.taskExecStdioRead({ taskId: second.created.taskId, execId: 'e' })),
      code(Code.PermissionDenied),
    );
    for (const jwt of ['', 'x.y.z', served.token.tokenSecret]) {
      await assert.rejects(router(served, jwt).taskExecStart(theirs), code(Code.Unauthenticated));
    }
    assert.equal(second.fake.execs.size, 0);
  }));

test('stdin: replays are skipped, end of input works with a stale offset, a closed input is FAILED_PRECONDITION', () =>
  withApi(async (served) => {
    const { created, fake, exec } = await sandbox(served);
    const target = { taskId: created.taskId, execId: 'e' };
    await exec.taskExecStart({ ...target, commandArgs: ['cat'] });
    await exec.taskExecStdinWrite({ ...target, data: utf8('abc') });
    await exec.taskExecStdinWrite({ ...target, data: utf8('abc') });
    await exec.taskExecStdinWrite({ ...target, offset: 2n, data: utf8('cde') });
    await exec.taskExecStdinWrite({ ...target, eof: true }); // JavaScript, whatever was written before
    await exec.taskExecStdinWrite({ ...target, eof: true });
    const [process] = fake.processes();
    assert.equal(process?.inputText, 'abcde');
    const status = await exec.taskExecStdinStatus(target);
    assert.deepEqual([status.numBytesWritten, status.closed], [5n, true]);
    await assert.rejects(
      exec.taskExecStdinWrite({ ...target, offset: 5n, data: utf8('f') }),
      code(Code.FailedPrecondition),
    );
  }));

test('a stdin stream that breaks off leaves the input open; asking how far it came ends it, and another goes on', () =>
  withApi(async (served) => {
    const { created, fake, exec } = await sandbox(served);
    const target = { taskId: created.taskId, execId: 'e' };
    await exec.taskExecStart({ ...target, commandArgs: ['cat'] });
    const [process] = fake.processes();
    assert.ok(process);
    const start = (offset: bigint) => ({ payload: { case: 'start' as const, value: { ...target, offset } } });
    const data = (text: string) => ({ payload: { case: 'data' as const, value: utf8(text) } });
    const end = { payload: { case: 'end' as const, value: {} } };

    const hang = Promise.withResolvers<void>();
    const first = exec.taskExecStdinWriteStream(
      (async function* () {
        yield start(0n);
        yield data('one ');
        await hang.promise;
      })(),
    );
    const failed = assert.rejects(first);
    await process.accepted(4, AbortSignal.timeout(10_000));
    const status = await exec.taskExecStdinStatus(target);
    assert.deepEqual([status.numBytesWritten, status.closed], [4n, false]);
    hang.resolve();
    await failed;

    await exec.taskExecStdinWriteStream(
      (async function* () {
        yield start(status.numBytesWritten);
        yield data('two');
        yield end;
      })(),
    );
    assert.equal(process.inputText, 'one two');
    assert.equal((await exec.taskExecStdinStatus(target)).closed, true);
  }));

test('asking how far a stream came works while the program does not read', () =>
  withApi(async (served) => {
    const { created, fake, exec } = await sandbox(served);
    const target = { taskId: created.taskId, execId: 'e' };
    await exec.taskExecStart({ ...target, commandArgs: ['sleep'] });
    const [process] = fake.processes();
    assert.ok(process);
    await exec.taskExecStdinWrite({ ...target, data: utf8('ab') });
    process.stopReading();
    const sent = Promise.withResolvers<void>();
    const stuck = assert.rejects(
      exec.taskExecStdinWriteStream(
        (async function* () {
          yield { payload: { case: 'start' as const, value: { ...target, offset: 2n } } };
          yield { payload: { case: 'data' as const, value: utf8('cd') } };
          sent.resolve();
        })(),
      ),
      code(Code.Canceled),
    );
    await sent.promise;
    // The status must come back although the write hangs. It may arrive before the stream did, so it is asked until the stream is over.
    let over = false;
    void stuck.then(() => {
      over = true;
    });
    while (!over) assert.equal((await exec.taskExecStdinStatus(target)).numBytesWritten, 2n);
    process.readInput();
  }));

test('what the router refuses names the field', () =>
  withApi(async (served) => {
    const { created, exec } = await sandbox(served);
    const { taskId } = created;
    const good = { taskId, execId: 'e', commandArgs: ['true'] };
    const bad: [RegExp, Parameters<typeof exec.taskExecStart>[0]][] = [
      [/exec_id/, { ...good, execId: 'entrypoint' }],
      [/exec_id/, { ...good, execId: '../../etc' }],
      [/exec_id/, { ...good, execId: '..' }],
      [/exec_id/, { ...good, execId: 'x'.repeat(65) }],
      [/exec_id/, { ...good, execId: '' }],
      [/command_args/, { ...good, commandArgs: [] }],
      [/command_args/, { ...good, commandArgs: [''] }],
      [/NUL/, { ...good, commandArgs: ['a\0b'] }],
      [/command_args/, { ...good, commandArgs: ['x'.repeat(2 << 20)] }],
      [/workdir/, { ...good, workdir: 'relative' }],
      [/environment variable/, { ...good, env: { 'A=B': 'c' } }],
      [/NUL/, { ...good, env: { A: '\0' } }],
      [/secret id/, { ...good, secretIds: ['../x'] }],
      [/timeout_secs/, { ...good, timeoutSecs: 4_000_000_000 }],
      [/stderr_config/, { ...good, stderrConfig: 9 as TaskExecStderrConfig }],
    ];
    for (const [message, request] of bad) {
      await assert.rejects(exec.taskExecStart(request), code(Code.InvalidArgument, message));
    }
    await assert.rejects(
      exec.taskExecStart({ ...good, containerId: 'ctr-1' }),
      code(Code.Unimplemented, /sidecar/),
    );
    await exec.taskExecStart(good);
    const read = exec.taskExecStdioRead({ taskId, execId: 'e', offset: 1n << 60n });
    await assert.rejects(collect(read), code(Code.InvalidArgument, /offset/));
    await assert.rejects(exec.taskMountDirectory({ taskId }), code(Code.Unimplemented, /TaskMountDirectory/));
  }));

test('network access of a running sandbox: an allow-list of everything is an open network', () =>
  withApi(async (served) => {
    const { created, fake, exec } = await sandbox(served);
    const set = (allowedCidrs: string[], allowedDomains: string[] = []) =>
      exec.taskSetNetworkAccess({
        taskId: created.taskId,
        networkAccess: { networkAccessType: 3, allowedCidrs, allowedDomains },
      });
    await set(['192.0.2.0/24']);
    assert.deepEqual(fake.networkPolicy, { kind: 'allowlist', cidrs: ['192.0.2.0/24'] });
    await set(['0.0.0.0/0', '::/0'], ['*']);
    assert.deepEqual(fake.networkPolicy, { kind: 'open' });
    await set([]);
    assert.deepEqual(fake.networkPolicy, { kind: 'allowlist', cidrs: [] });
    await assert.rejects(set(['192.0.2.0/24'], ['example.com']), code(Code.Unimplemented, /allowed_domains/));
    for (const cidr of ['192.0.2.0/33', '256.0.0.0/8', '2001:db8::/32', '10.0.0.0/8; drop', '']) {
      await assert.rejects(set([cidr]), code(Code.InvalidArgument, /allowed_cidrs/));
    }
    assert.deepEqual(fake.networkPolicy, { kind: 'allowlist', cidrs: [] });
  }));

test('a repeated create with the same key is the same sandbox, also while the first is under way', () =>
  withApi(async (served) => {
    const client = controlPlane(served, { ...served.credentials, 'x-idempotency-key': 'key-1' });
    const request = { appId: served.appId, definition: { ...definition, name: 'once' } };
    const [first, joined] = await Promise.all([
      client.sandboxCreateV2(request),
      client.sandboxCreateV2(request),
    ]);
    const repeated = await client.sandboxCreateV2(request);
    assert.equal(served.sandboxes.all.length, 1);
    assert.deepEqual([joined.sandboxId, repeated.sandboxId], [first.sandboxId, first.sandboxId]);
    assert.equal(repeated.taskId, first.taskId);
    assert.equal(repeated.commandRouterAccess, undefined, 'a token that may have run out is not given again');
    const other = controlPlane(served, { ...served.credentials, 'x-idempotency-key': 'key-2' });
    await assert.rejects(other.sandboxCreateV2(request), code(Code.AlreadyExists));
    const long = controlPlane(served, { ...served.credentials, 'x-idempotency-key': 'k'.repeat(129) });
    await assert.rejects(long.sandboxCreateV2(request), code(Code.InvalidArgument, /x-idempotency-key/));
    const rows = served.database.prepare('SELECT response FROM idempotency').all();
    assert.equal(rows.length, 1);
    assert.ok(!Buffer.from(rows[0]?.response as Uint8Array).includes('eyJ'), 'no token is stored');
  }));

test('answers are kept for an hour and across restarts; failures and other callers are not joined', () =>
  withApi(async ({ database }) => {
    let now = 1_000_000;
    let runs = 0;
    const once = (
      principal: string,
      run = async () => create(SandboxCreateResponseSchema, { sandboxId: `sb-${++runs}` }),
    ) =>
      new Idempotency(database, () => now).once({
        principal,
        method: 'M',
        key: 'k',
        output: SandboxCreateResponseSchema,
        run,
      });
    await assert.rejects(
      once('a', async () => {
        throw new Error('first try');
      }),
    );
    assert.equal((await once('a')).sandboxId, 'sb-1');
    assert.equal((await once('a')).sandboxId, 'sb-1');
    assert.equal((await once('b')).sandboxId, 'sb-2');
    now += 3_600_001;
    assert.equal((await once('a')).sandboxId, 'sb-3');
    assert.equal(database.prepare('SELECT key FROM idempotency').all().length, 1, 'the old ones are gone');
  }));

test('the router URL is what each client insists on', () => {
  const url = (client: 'python' | 'javascript' | 'go' | 'other', authority: string, encrypted = false) =>
    routerUrl({ client, authority, encrypted });
  assert.equal(url('python', 'localhost:7423'), 'http://localhost:7423');
  assert.equal(url('python', 'localhost:7423', true), 'https://localhost:7423');
  assert.equal(url('javascript', '127.0.0.1:7423'), 'https://127.0.0.1:7423');
  assert.equal(url('go', '[::1]:7423'), 'https://[::1]:7423');
  assert.equal(url('python', '[::1]:7423'), 'http://[::1]:7423');
  assert.equal(url('python', 'sandboxes.example.com'), 'https://sandboxes.example.com');
});

test('the router URL has the host the client dialled, whatever a proxy made of it, and never more than a host', () =>
  withApi(async (served) => {
    const { taskId } = (await sandbox(served)).created;
    const urlFor = async (host: string) =>
      (
        await controlPlane(served, {
          ...served.credentials,
          'x-modal-host': host,
        }).taskGetCommandRouterAccess({
          taskId,
        })
      ).url;
    assert.equal(await urlFor('localhost'), `http://localhost:${served.port}`);
    assert.equal(await urlFor('skerry.example.com'), 'https://skerry.example.com');
    assert.equal(await urlFor('evil.com/path?'), `http://localhost:${served.port}`);
  }));

test('results are told in the numbers the clients know', () => {
  const cases: [Parameters<typeof toGenericResult>[0], Status, number][] = [
    [{ kind: 'exited', exitCode: 0 }, Status.SUCCESS, 0],
    [{ kind: 'exited', exitCode: 139 }, Status.FAILURE, 139],
    [{ kind: 'terminated' }, Status.TERMINATED, 137],
    [{ kind: 'timeout' }, Status.TIMEOUT, 124],
    [{ kind: 'idle-timeout' }, Status.IDLE_TIMEOUT, 137],
    [{ kind: 'out-of-memory' }, Status.KERNEL_OOM_KILL, 137],
    [{ kind: 'start-failed', message: 'no such image' }, Status.INIT_FAILURE, 1],
    [{ kind: 'crashed', message: 'agent gone' }, Status.INTERNAL_FAILURE, 1],
  ];
  for (const [result, status, exitcode] of cases) {
    const wire = toGenericResult(result);
    assert.deepEqual([wire.status, wire.exitcode], [status, exitcode]);
    assert.equal(wire.exception !== '', result.kind !== 'exited');
  }
});

test('closing the API ends long polls with UNAVAILABLE, which clients repeat', () =>
  withApi(async (served) => {
    const { created, exec } = await sandbox(served);
    await exec.taskExecStart({ taskId: created.taskId, execId: 'e', commandArgs: ['sleep'] });
    const waiting = assert.rejects(
      exec.taskExecWait({ taskId: created.taskId, execId: 'e' }),
      code(Code.Unavailable),
    );
    // Another call on the same connection: once it is answered, the wait has arrived.
    await exec.taskExecPoll({ taskId: created.taskId, execId: 'e' });
    served.api.close();
    await waiting;
  }));

test('definitions: defaults, and refusals by name', () =>
  withApi(async (served) => {
    const client = controlPlane(served);
    type Fields = MessageInitShape<typeof SandboxSchema> & { $unknown?: SandboxMessage['$unknown'] };
    const createWith = ({ $unknown, ...fields }: Fields) => {
      const message = create(SandboxSchema, { ...definition, ...fields });
      if ($unknown) message.$unknown = $unknown;
      return client.sandboxCreateV2({ appId: served.appId, definition: message });
    };
    await createWith({ timeoutSecs: 0, ptyInfo: { enabled: true }, workdir: '' });
    const spec = served.sandboxes.all.at(-1)?.spec;
    assert.equal(spec?.timeoutMs, 300_000);
    assert.deepEqual(spec?.pty, { rows: 24, cols: 80 });
    assert.equal(spec?.workdir, undefined);
    assert.deepEqual(spec?.network, { kind: 'open' });
    await createWith({ blockNetwork: true });
    assert.deepEqual(served.sandboxes.all.at(-1)?.spec.network, { kind: 'blocked' });
    await createWith({ experimentalOptionsV2: { enable_exit_snapshot: 'False' } });

    const count = served.sandboxes.all.length;
    const refused: [RegExp, Fields][] = [
      [/volume_mounts/, { volumeMounts: [{ volumeId: 'vo-1', mountPath: '/v' }] }],
      [/cloud_bucket_mounts/, { cloudBucketMounts: [{ bucketName: 'b' }] }],
      [/open_ports/, { openPortsOneof: { case: 'openPorts', value: { ports: [{ port: 80 }] } } }],
      [/inbound_cidr_allowlist/, { inboundCidrAllowlist: ['0.0.0.0/0'] }],
      [/proxy_id/, { proxyId: 'pr-1' }],
      [/custom_domain/, { customDomain: 'x.example' }],
      [/enable_snapshot/, { enableSnapshot: true }],
      [/oidc/, { includeOidcIdentityToken: true }],
      [/x509/, { includeX509Svid: true }],
      [/GPU/, { resources: { gpuConfig: { gpuType: 'H100', count: 1 } } }],
      [/ephemeral_disk_mb/, { resources: { ephemeralDiskMb: 1024 } }],
      [/runtime "vm"/, { runtime: 'vm' }],
      [/enable_exit_snapshot/, { experimentalOptionsV2: { enable_exit_snapshot: 'True' } }],
      [/enable_exit_snapshot/, { experimentalOptionsV2: { enable_exit_snapshot: 'true' } }],
      [/allowed_domains/, { networkAccess: { networkAccessType: 3, allowedDomains: ['example.com'] } }],
      [/nfs_mounts/, { $unknown: [{ no: 9, wireType: 2, data: new Uint8Array([0]) }] }],
      [/outbound_policy/, { $unknown: [{ no: 42, wireType: 2, data: new Uint8Array([0]) }] }],
      [/field 99/, { $unknown: [{ no: 99, wireType: 0, data: new Uint8Array([1]) }] }],
    ];
    for (const [message, fields] of refused) {
      await assert.rejects(createWith(fields), code(Code.Unimplemented, message));
    }
    const invalid: [RegExp, Fields][] = [
      [/image_id/, { imageId: '' }],
      [/name/, { name: 'a/b' }],
      [/timeout_secs/, { timeoutSecs: 8 * 86_400 }],
      [/idle_timeout_secs/, { idleTimeoutSecs: 0 }],
      [/workdir/, { workdir: 'x' }],
      [/memory_mb_max/, { resources: { memoryMb: 512, memoryMbMax: 256 } }],
      [/milli_cpu_max/, { resources: { milliCpu: 512, milliCpuMax: 256 } }],
      [/runtime/, { runtime: 'qemu' }],
      [/mount_ids/, { mountIds: ['../x'] }],
      [/readiness_probe/, { readinessProbe: {} }],
      [/tcp_port/, { readinessProbe: { probeOneof: { case: 'tcpPort', value: 70_000 } } }],
      [/NUL/, { entrypointArgs: ['\0'] }],
      [/exclude/, { blockNetwork: true, networkAccess: { networkAccessType: 1 } }],
    ];
    for (const [message, fields] of invalid) {
      await assert.rejects(createWith(fields), code(Code.InvalidArgument, message));
    }
    await assert.rejects(
      client.sandboxCreateV2({ appId: served.appId }),
      code(Code.InvalidArgument, /definition/),
    );
    await assert.rejects(client.sandboxCreateV2({ appId: 'ap-none', definition }), code(Code.NotFound));
    assert.equal(served.sandboxes.all.length, count, 'nothing was created');
  }));
