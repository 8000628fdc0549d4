/** What no official client sends: repeated ids, wrong offsets, broken messages, tokens of others. None of it may harm the server or a sandbox. */
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Code } from '@connectrpc/connect';
import {
  TaskExecStderrConfig,
  TaskExecStdioFileDescriptor,
  TaskExecStdoutConfig,
} from '../../server/src/api/modal/gen/modal/task_command_router_pb.ts';
import { runPython } from '../support/clients.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { code, collect, controlPlane, type RouterClient, rawCall, router } from './support/wire.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

interface Opened {
  readonly sandboxId: string;
  readonly taskId: string;
  readonly jwt: string;
  readonly exec: RouterClient;
}

describe('hand-made calls to the command router', () => {
  let server: TestServer;
  let one: Opened;
  let other: Opened;

  before(async () => {
    server = await startServer({ runtime: 'runc' });
    [one, other] = [await open(), await open()];
  });
  after(() => server?.stop());

  async function open(): Promise<Opened> {
    const made = await runPython(
      server,
      `import modal
app = modal.App.lookup("life-router", create_if_missing=True)
print(modal.Sandbox.create(app=app, image=modal.Image.from_registry("python:3.11-slim"), timeout=600).object_id)`,
    );
    assert.equal(made.code, 0, made.stderr);
    return opened(made.stdout.trim());
  }

  async function opened(sandboxId: string): Promise<Opened> {
    const { jwt } = await controlPlane(server).sandboxGetCommandRouterAccess({
      target: { case: 'sandboxId', value: sandboxId },
    });
    const { taskId = '' } = await controlPlane(server).sandboxGetTaskIdV2({ sandboxId });
    return { sandboxId, taskId, jwt, exec: router(server, jwt) };
  }

  const start = (commandArgs: string[], execId: string = randomUUID()) => ({
    taskId: one.taskId,
    execId,
    commandArgs,
    stdoutConfig: TaskExecStdoutConfig.PIPE,
    stderrConfig: TaskExecStderrConfig.PIPE,
  });

  const stdout = (execId: string, offset = 0n) =>
    collect(
      one.exec.taskExecStdioRead({
        taskId: one.taskId,
        execId,
        offset,
        fileDescriptor: TaskExecStdioFileDescriptor.STDOUT,
      }),
    );

  async function output(...command: string[]): Promise<string> {
    const request = start(command);
    await one.exec.taskExecStart(request);
    return stdout(request.execId);
  }

  test('a relative working directory is below that of the sandbox', async () => {
    const command = `import modal
app = modal.App.lookup("life-router", create_if_missing=True)
image = modal.Image.from_registry("python:3.11-slim")
sandbox = modal.Sandbox.create("sh", "-c", "mkdir sub; ln -s /usr/lib link; sleep 600", app=app, image=image, workdir="/work/dir")
while sandbox.exec("test", "-L", "link").wait(): pass
print(sandbox.object_id)`;
    const made = await runPython(server, command);
    const at = await opened(made.stdout.trim());
    for (const [workdir, found] of [
      ['sub', '/work/dir/sub\n'],
      ['./sub/..', '/work/dir\n'],
      ['link/..', '/usr\n'],
      ['.', '/work/dir\n'],
      ['', '/work/dir\n'],
    ] as const) {
      const request = { ...start(['pwd', '-P']), taskId: at.taskId, workdir };
      await at.exec.taskExecStart(request);
      assert.equal(
        await collect(
          at.exec.taskExecStdioRead({ ...request, fileDescriptor: TaskExecStdioFileDescriptor.STDOUT }),
        ),
        found,
        workdir,
      );
    }
    const missing = { ...start(['pwd']), taskId: at.taskId, workdir: 'none' };
    await at.exec.taskExecStart(missing);
    assert.deepEqual((await at.exec.taskExecWait(missing)).exitStatus, { case: 'code', value: 128 });
  });

  test('a caller without a clock of its own is told of a timeout, a moment later', async () => {
    const request = { ...start(['sleep', '100']), timeoutSecs: 1 };
    await one.exec.taskExecStart(request);
    assert.equal(await stdout(request.execId), '');
    assert.equal((await one.exec.taskExecPoll(request)).exitStatus.case, undefined);
    assert.deepEqual((await one.exec.taskExecWait(request)).exitStatus, { case: 'signal', value: 9 });
    assert.deepEqual((await one.exec.taskExecPoll(request)).exitStatus, { case: 'signal', value: 9 });
  });

  test('an exec id is one process, however often and however fast it is started', async () => {
    const request = start(['sh', '-c', 'echo $$ >> /tmp/started; echo $$; read line; echo got $line']);
    await Promise.all(Array.from({ length: 20 }, () => one.exec.taskExecStart(request)));
    await one.exec.taskExecStart(request);
    const { taskId } = one;
    await one.exec.taskExecStdinWrite({ taskId, execId: request.execId, data: bytes('it\n') });
    const seen = await stdout(request.execId);
    assert.match(seen, /^\d+\ngot it\n$/);
    await one.exec.taskExecStart(request); // also after it ended
    assert.equal((await output('cat', '/tmp/started')).trim(), seen.split('\n')[0]);
  });

  test('output is read from any offset, by many, again, and past its end', async () => {
    const request = start(['printf', '0123456789']);
    await one.exec.taskExecStart(request);
    const { execId } = request;
    assert.deepEqual(
      await Promise.all([stdout(execId), stdout(execId), stdout(execId, 4n), stdout(execId, 10n)]),
      ['0123456789', '0123456789', '456789', ''],
    );
    assert.equal(await stdout(execId), '0123456789');
    assert.equal(await stdout(execId, 11n), '');
    await assert.rejects(stdout(execId, 2n ** 63n), code(Code.InvalidArgument, /offset/));
  });

  test('input that was sent is skipped, a gap is refused, the end may be said twice', async () => {
    const request = start(['cat']);
    await one.exec.taskExecStart(request);
    const write = (offset: bigint, data: string, eof = false) =>
      one.exec.taskExecStdinWrite({
        taskId: one.taskId,
        execId: request.execId,
        offset,
        data: bytes(data),
        eof,
      });
    await write(0n, 'abc');
    await write(0n, 'abc');
    await write(1n, 'bcde');
    await assert.rejects(write(9n, 'far ahead'), code(Code.InvalidArgument, /offset 5/));
    await write(5n, 'f', true);
    await write(0n, '', true);
    assert.equal(await stdout(request.execId), 'abcdef');
    await one.exec.taskExecWait({ taskId: one.taskId, execId: request.execId });
    await assert.rejects(write(6n, 'late'), code(Code.FailedPrecondition, /ended/));
  });

  test('a stream of input that breaks off leaves the input open and is continued; one without a start is refused', async () => {
    const request = start(['cat']);
    await one.exec.taskExecStart(request);
    const { taskId } = one;
    const { execId } = request;
    const data = (text: string) => ({ payload: { case: 'data' as const, value: bytes(text) } });
    const begin = (offset: bigint) => ({
      payload: { case: 'start' as const, value: { taskId, execId, offset } },
    });
    const end = { payload: { case: 'end' as const, value: {} } };
    const upload = (...messages: (ReturnType<typeof data> | ReturnType<typeof begin> | typeof end)[]) =>
      one.exec.taskExecStdinWriteStream(
        (async function* () {
          yield* messages;
        })(),
      );
    await upload(begin(0n), data('first '));
    const status = await one.exec.taskExecStdinStatus({ taskId, execId });
    assert.deepEqual([status.numBytesWritten, status.closed], [6n, false]);
    await assert.rejects(upload(data('no start')), code(Code.InvalidArgument, /start/));
    await assert.rejects(upload(begin(6n), begin(6n)), code(Code.InvalidArgument));
    await assert.rejects(upload(begin(60n), data('gap')), code(Code.InvalidArgument, /offset/));
    await upload(begin(0n), data('first second'), end);
    assert.equal(await stdout(execId), 'first second');
  });

  test('what is not there is not found, and a bad id is refused before it becomes a path', async () => {
    const { taskId } = one;
    await assert.rejects(one.exec.taskExecWait({ taskId, execId: 'nobody' }), code(Code.NotFound, /nobody/));
    for (const execId of ['', '../../etc/passwd', '..', 'a/b', 'x'.repeat(65), 'nul\0']) {
      await assert.rejects(
        one.exec.taskExecStart(start(['true'], execId)),
        code(Code.InvalidArgument, /exec_id/),
      );
    }
    await assert.rejects(one.exec.taskExecStart(start([])), code(Code.InvalidArgument, /command_args/));
    await assert.rejects(
      one.exec.taskExecStart(start(['true', 'x'.repeat(2 << 20)])),
      code(Code.InvalidArgument, /command_args/),
    );
  });

  test('a token opens its own sandbox only', async () => {
    const request = start(['true']);
    await assert.rejects(other.exec.taskExecStart(request), code(Code.PermissionDenied));
    await assert.rejects(
      other.exec.taskExecWait({ taskId: one.taskId, execId: 'x' }),
      code(Code.PermissionDenied),
    );
    const [header = '', payload = '', signature = ''] = one.jwt.split('.');
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    const forged = Buffer.from(JSON.stringify({ ...claims, exp: claims.exp + 1e6 })).toString('base64url');
    const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url');
    const { token: apiToken } = await controlPlane(server).authTokenGet({});
    for (const jwt of [
      `${header}.${forged}.${signature}`,
      `${none}.${payload}.`,
      `${header}.${payload}.${signature.slice(0, -4)}AAAA`,
      apiToken, // signed by the same server, for something else
      server.token.tokenSecret,
      'x'.repeat(5000),
    ]) {
      await assert.rejects(router(server, jwt).taskExecStart(request), code(Code.Unauthenticated));
    }
  });

  test('a deadline of zero ends the call, not the process', async () => {
    const request = start(['sh', '-c', 'read line; exit 7']);
    await one.exec.taskExecStart(request);
    const { taskId } = one;
    const { execId } = request;
    const headers = { authorization: `Bearer ${one.jwt}`, 'grpc-timeout': '0m' };
    const wait = '/modal.task_command_router.TaskCommandRouter/TaskExecWait';
    // Field 1 and 2, length-delimited: the two ids.
    const message = Buffer.concat(
      [taskId, execId].map((text, index) =>
        Buffer.concat([Buffer.from([((index + 1) << 3) | 2, text.length]), Buffer.from(text)]),
      ),
    );
    const frame = Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]);
    assert.equal(await rawCall(server, wait, headers, frame), String(Code.DeadlineExceeded));
    await one.exec.taskExecStdinWrite({ taskId, execId, data: bytes('\n') });
    assert.deepEqual((await one.exec.taskExecWait({ taskId, execId })).exitStatus, {
      case: 'code',
      value: 7,
    });
  });

  test('broken messages are refused one by one, and the server goes on', async () => {
    const headers = { authorization: `Bearer ${one.jwt}` };
    const bodies = [
      Buffer.alloc(0),
      Buffer.from([0, 0, 0]), // half a prefix
      Buffer.from([0, 0, 0, 0, 100, 1, 2, 3]), // shorter than it says
      Buffer.from([0, 0xff, 0xff, 0xff, 0xff]), // 4 GiB announced
      Buffer.from([1, 0, 0, 0, 1, 0]), // compressed, by no algorithm
      Buffer.from([0, 0, 0, 0, 2, 0x0a, 0x7f]), // a field longer than the message
      Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), // two messages
      Buffer.concat([Buffer.from([0, 0, 0, 4, 0]), randomBytes(1024)]),
    ];
    for (const rpc of [
      'TaskExecStart',
      'TaskExecStdioRead',
      'TaskExecStdinWrite',
      'TaskExecStdinWriteStream',
    ]) {
      for (const body of bodies) {
        const path = `/modal.task_command_router.TaskCommandRouter/${rpc}`;
        const status = await rawCall(server, path, headers, body);
        assert.notEqual(status, '0', `${rpc} took ${body.toString('hex').slice(0, 40)}`);
      }
    }
    assert.equal(await output('echo', 'alive'), 'alive\n');
  });

  test('a client that vanishes in the middle of everything harms nothing', async () => {
    const request = start([
      'sh',
      '-c',
      'for i in $(seq 1 2000); do echo line $i; done; read line; echo $line',
    ]);
    await one.exec.taskExecStart(request);
    const { taskId } = one;
    const { execId } = request;
    for (let count = 0; count < 20; count++) {
      const leave = new AbortController();
      const reading = one.exec.taskExecStdioRead({ taskId, execId }, { signal: leave.signal });
      await reading[Symbol.asyncIterator]().next();
      const waiting = one.exec.taskExecWait({ taskId, execId }, { signal: leave.signal });
      leave.abort();
      await assert.rejects(waiting);
    }
    await one.exec.taskExecStdinWrite({ taskId, execId, data: bytes('still here\n') });
    const seen = await stdout(execId);
    assert.equal(seen.split('\n').length, 2002);
    assert.ok(seen.endsWith('still here\n'));
  });
});
