import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Code } from '@connectrpc/connect';
import { atLeast } from '../../../sandboxes/testing/domain.ts';
import { hasNoUseOfRouter, routerUrl } from '../control-plane/router-access.ts';
import {
  TaskExecStderrConfig,
  TaskExecStdioFileDescriptor,
  TaskExecStdoutConfig,
} from '../gen/modal/task_command_router_pb.ts';
import type { ClientKind } from '../rpc/call.ts';
import {
  code,
  collect,
  controlPlane,
  execSpecsOf,
  router,
  runningSandbox,
  sandbox,
  utf8,
  withApi,
} from '../testing/clients.ts';

const stdoutConfig = TaskExecStdoutConfig.PIPE;

test('exec: start, read, wait; the same id again is the same process', () =>
  withApi(async (served) => {
    const { created, made, exec } = await sandbox(served);
    const specs = execSpecsOf(made);
    const { taskId } = created;
    const argv = ['sh', '-c', 'read line; printf "hello $A"; pwd >&2; exit 5'];
    const start = () =>
      exec.taskExecStart({
        taskId,
        execId: 'e-1',
        commandArgs: argv,
        stdoutConfig,
        stderrConfig: TaskExecStderrConfig.PIPE,
        workdir: '/data',
        timeoutSecs: 700,
        secretSources: [{ source: { case: 'env', value: { contents: { A: 'world' } } } }],
      });
    await start();
    await start();
    assert.equal(made.processes().length, 1);
    assert.deepEqual(specs[0], {
      argv,
      secretSources: [{ kind: 'inline', env: { A: 'world' } }],
      workdir: '/data',
      timeoutMs: 700_000,
      timeoutLeadMs: 1000,
      pty: undefined,
      stdout: 'pipe',
      stderr: 'pipe',
      failureIsExit: true,
    });
    const target = { taskId, execId: 'e-1' };
    assert.equal((await exec.taskExecPoll(target)).exitStatus.case, undefined);
    const reading = collect(exec.taskExecStdioRead(target));
    const waiting = exec.taskExecWait(target);
    await exec.taskExecStdinWrite({ ...target, eof: true });
    assert.equal(await reading, 'hello world');
    assert.deepEqual((await waiting).exitStatus, { case: 'code', value: 5 });
    assert.equal(await collect(exec.taskExecStdioRead({ ...target, offset: 6n })), 'world');
    assert.equal(
      await collect(
        exec.taskExecStdioRead({ ...target, fileDescriptor: TaskExecStdioFileDescriptor.STDERR }),
      ),
      '/data\n',
    );
  }));

test('an exec without any configuration of its output keeps none', () =>
  withApi(async (served) => {
    const { created, exec } = await sandbox(served);
    const target = { taskId: created.taskId, execId: 'e' };
    await exec.taskExecStart({ ...target, commandArgs: ['echo', 'x'] });
    assert.deepEqual((await exec.taskExecWait(target)).exitStatus, { case: 'code', value: 0 });
    assert.equal(await collect(exec.taskExecStdioRead(target)), '');
  }));

test('an ended sandbox: exec says why it ended, waits end at once, output and access stay', () =>
  withApi(async (served) => {
    const entrypointArgs = ['sh', '-c', 'printf kept; exec sleep 1000'];
    const { client, created, made, exec } = await sandbox(served, { entrypointArgs });
    const { taskId, sandboxId } = created;
    await exec.taskExecStart({ taskId, execId: 'e', commandArgs: ['sleep', '1000'] });
    await atLeast(made.stdout, 'kept'.length);
    const waiting = exec.taskExecWait({ taskId, execId: 'e' });
    await served.domain.instance(made).runOutOfMemory();
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
      code(Code.FailedPrecondition, /already completed/),
    );
    await assert.rejects(exec.taskExecWait({ taskId, execId: 'never' }), code(Code.NotFound));
  }));

test('sandbox stdio starts at the offset asked for and counts on', () =>
  withApi(async (served) => {
    const entrypointArgs = ['head', '-c', String(300 << 10), '/dev/zero'];
    const { created, exec } = await sandbox(served, { entrypointArgs });
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

test('pieces of any length arrive as they were written', () =>
  withApi(async (served) => {
    // From one that fits into a frame to more than is kept in memory, in one piece and in many.
    const script =
      'for n in 1 16383 16384 16385 65536 300000 1000000; do head -c $n /dev/urandom; done | tee /proc/self/fd/2';
    const { created, exec } = await sandbox(served);
    const { taskId } = created;
    const execId = 'e';
    const commandArgs = ['sh', '-c', script];
    const stderrConfig = TaskExecStderrConfig.PIPE;
    await exec.taskExecStart({ taskId, execId, commandArgs, stdoutConfig, stderrConfig });
    const pieces = async (stream: AsyncIterable<{ readonly data: Uint8Array }>) => {
      const all: Uint8Array[] = [];
      for await (const { data } of stream) all.push(data);
      return Buffer.concat(all);
    };
    const stderr = TaskExecStdioFileDescriptor.STDERR;
    const [out, err] = await Promise.all([
      pieces(exec.taskExecStdioRead({ taskId, execId })),
      pieces(exec.taskExecStdioRead({ taskId, execId, fileDescriptor: stderr })),
    ]);
    assert.equal(out.length, 1_414_689);
    assert.ok(out.equals(err));
    assert.ok(out.equals(await pieces(exec.taskExecStdioRead({ taskId, execId }))));
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
    assert.deepEqual(second.made.processes(), []);
  }));

test('stdin: replays are skipped, end of input works with a stale offset, a closed input is FAILED_PRECONDITION', () =>
  withApi(async (served) => {
    const { created, exec } = await sandbox(served);
    const target = { taskId: created.taskId, execId: 'e' };
    await exec.taskExecStart({ ...target, commandArgs: ['cat'], stdoutConfig });
    await exec.taskExecStdinWrite({ ...target, data: utf8('abc') });
    await exec.taskExecStdinWrite({ ...target, data: utf8('abc') });
    await exec.taskExecStdinWrite({ ...target, offset: 2n, data: utf8('cde') });
    await exec.taskExecStdinWrite({ ...target, eof: true }); // JavaScript, whatever was written before
    await exec.taskExecStdinWrite({ ...target, eof: true });
    assert.equal(await collect(exec.taskExecStdioRead(target)), 'abcde');
    const status = await exec.taskExecStdinStatus(target);
    assert.deepEqual([status.numBytesWritten, status.closed], [5n, true]);
    await assert.rejects(
      exec.taskExecStdinWrite({ ...target, offset: 5n, data: utf8('f') }),
      code(Code.FailedPrecondition),
    );
  }));

test('a stdin stream that breaks off leaves the input open; asking how far it came ends it, and another goes on', () =>
  withApi(async (served) => {
    const { created, made, exec } = await sandbox(served);
    const target = { taskId: created.taskId, execId: 'e' };
    await exec.taskExecStart({ ...target, commandArgs: ['cat'], stdoutConfig });
    const [process] = made.processes();
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
    await atLeast(process.stdout, 4);
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
    assert.equal(await collect(exec.taskExecStdioRead(target)), 'one two');
    assert.equal((await exec.taskExecStdinStatus(target)).closed, true);
  }));

test('asking how far a stream came works while the program does not read', () =>
  withApi(async (served) => {
    const { created, exec } = await sandbox(served);
    const target = { taskId: created.taskId, execId: 'e' };
    await exec.taskExecStart({ ...target, commandArgs: ['sleep', '1000'] });
    await exec.taskExecStdinWrite({ ...target, data: utf8('ab') });
    const more = new Uint8Array(1 << 20); // more than a pipe holds
    const written = async () => (await exec.taskExecStdinStatus(target)).numBytesWritten;
    const data = { payload: { case: 'data' as const, value: more } };
    const end = { payload: { case: 'end' as const, value: {} } };
    // The status must come back although the write hangs, or the end that stands behind what was written.
    for (const last of [data, end]) {
      const offset = await written();
      const sent = Promise.withResolvers<void>();
      const stuck = assert.rejects(
        exec.taskExecStdinWriteStream(
          (async function* () {
            yield { payload: { case: 'start' as const, value: { ...target, offset } } };
            yield last;
            sent.resolve();
          })(),
        ),
        code(Code.Canceled),
      );
      await sent.promise;
      // It may arrive before the stream did, so it is asked until the stream is over.
      let over = false;
      void stuck.then(() => {
        over = true;
      });
      while (!over) assert.ok((await written()) >= 2n);
      await stuck;
      assert.ok((await written()) < BigInt(more.length));
    }
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
      [/workdir/, { ...good, workdir: '/a\0b' }],
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
      code(Code.NotFound, /container/),
    );
    await exec.taskExecStart(good);
    const read = exec.taskExecStdioRead({ taskId, execId: 'e', offset: 1n << 60n });
    await assert.rejects(collect(read), code(Code.InvalidArgument, /offset/));
    for (const ttlSeconds of [0n, -2n, 1n << 62n]) {
      await assert.rejects(
        exec.taskSnapshotFilesystem({ taskId, snapshotId: 's', ttlSeconds }),
        code(Code.InvalidArgument, /ttl_seconds/),
      );
    }
    for (const path of ['', 'relative', '/a\0b', `/${'x'.repeat(5000)}`]) {
      const request = { taskId, path: new TextEncoder().encode(path) };
      for (const call of [exec.taskMountDirectory, exec.taskUnmountDirectory, exec.taskSnapshotDirectory]) {
        await assert.rejects(call(request), code(Code.InvalidArgument, /path/));
      }
    }
    const notUtf8 = exec.taskMountDirectory({ taskId, path: Uint8Array.of(0x2f, 0xff) });
    await assert.rejects(notUtf8, code(Code.InvalidArgument, /UTF-8/));
  }));

test('network access of a running sandbox: an allow-list of everything is an open network', () =>
  withApi(async (served) => {
    const { created, made, exec } = await runningSandbox(served);
    const policy = () => served.domain.instance(made).networkPolicy;
    const set = (allowedCidrs: string[], allowedDomains: string[] = []) =>
      exec.taskSetNetworkAccess({
        taskId: created.taskId,
        networkAccess: { networkAccessType: 3, allowedCidrs, allowedDomains },
      });
    await set(['192.0.2.0/24']);
    assert.deepEqual(policy(), { kind: 'allowlist', cidrs: ['192.0.2.0/24'] });
    await set(['0.0.0.0/0', '::/0'], ['*']);
    assert.deepEqual(policy(), { kind: 'open' });
    await set([]);
    assert.deepEqual(policy(), { kind: 'allowlist', cidrs: [] });
    await set(['192.0.2.0/24'], ['Example.com', '*.example.org', 'example.com']);
    const domains = ['example.com', '*.example.org'];
    assert.deepEqual(policy(), { kind: 'allowlist', cidrs: ['192.0.2.0/24'], domains });
    for (const domain of ['1.2.3.4', 'localhost', 'https://example.com', 'example.com:443', '']) {
      await assert.rejects(set([], [domain]), code(Code.InvalidArgument, /Invalid domain: /));
    }
    await set([]);
    for (const cidr of ['192.0.2.0/33', '256.0.0.0/8', '2001:db8::/32', '10.0.0.0/8; drop', '']) {
      await assert.rejects(set([cidr]), code(Code.InvalidArgument, /Invalid CIDR: /));
    }
    assert.deepEqual(policy(), { kind: 'allowlist', cidrs: [] });
  }));

test('headers are put into the requests of a sandbox that was made with a policy', () =>
  withApi(async (served) => {
    const { created, exec } = await runningSandbox(served);
    const taskId = created.taskId;
    const set = (
      headerReplacements: { domain: string; secretId?: string; headers: Record<string, string> }[],
    ) => exec.taskSetOutboundPolicy({ taskId, experimentalOutboundPolicy: { headerReplacements } });
    await assert.rejects(set([]), code(Code.FailedPrecondition, /created without an outbound policy/));
    await assert.rejects(exec.taskSetOutboundPolicy({ taskId }), code(Code.InvalidArgument, /missing/));
    await assert.rejects(
      exec.taskSetOutboundPolicy({ taskId: 'ta-anotherV', experimentalOutboundPolicy: {} }),
      code(Code.PermissionDenied),
    );
  }));

test('the router URL is what each client insists on', () => {
  const url = (client: ClientKind, authority: string, encrypted = false) => {
    const call = { client, clientVersion: '1.6.4', authority, encrypted };
    return routerUrl(call);
  };
  assert.equal(url('python', 'localhost:7423'), 'http://localhost:7423');
  assert.equal(url('python', 'localhost:7423', true), 'https://localhost:7423');
  assert.equal(url('javascript', '127.0.0.1:7423'), 'https://127.0.0.1:7423');
  assert.equal(url('go', '[::1]:7423'), 'https://[::1]:7423');
  assert.equal(url('python', '[::1]:7423'), 'http://[::1]:7423');
  assert.equal(url('python', 'sandboxes.example.com'), 'https://sandboxes.example.com');
});

test('Python clients that check certificates on localhost are sent to the container calls there', () => {
  const refused = (clientVersion: string, authority = 'localhost:7423') =>
    hasNoUseOfRouter({ client: 'python', clientVersion, authority });
  const versions = ['1.1.4', '1.2.0', '1.2.1', '1.2.6', '1.3.0', '1.3.0.post1', '1.3.1', '1.3.2', '1.6.4'];
  assert.deepEqual(
    versions.filter((version) => refused(version)),
    ['1.2.1', '1.2.6', '1.3.0', '1.3.0.post1', '1.3.1'],
  );
  assert.equal(refused('1.3.0', 'sandboxes.example.com'), false);
  assert.equal(hasNoUseOfRouter({ client: 'go', clientVersion: '1.3.0', authority: 'localhost' }), false);
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
