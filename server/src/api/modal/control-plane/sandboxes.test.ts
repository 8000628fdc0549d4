import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Code } from '@connectrpc/connect';
import { GenericResult_GenericStatus as Status } from '../gen/modal/common_pb.ts';
import { code, controlPlane, definition, sandbox, withApi } from '../testing/clients.ts';
import { toGenericResult } from './results.ts';

test('create: ids of the shapes the clients tell V1 and V2 by, access at once, result unset while it runs', () =>
  withApi(async (served) => {
    const entrypointArgs = ['sh', '-c', 'read line; exit 3'];
    const { client, created, exec } = await sandbox(served, { entrypointArgs });
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

    await exec.sandboxStdinWriteV2({ taskId: created.taskId, eof: true });
    const ended = await client.sandboxWaitV2({ sandboxId, timeout: 55 });
    assert.equal(ended.result?.status, Status.FAILURE);
    assert.equal(ended.result?.exitcode, 3);
    assert.equal(
      (await client.sandboxGetTaskIdV2({ sandboxId })).taskId,
      created.taskId,
      'also after its end',
    );
    assert.equal((await client.sandboxTerminateV2({ sandboxId })).existingResult?.status, Status.FAILURE);
  }));

test('the answer to a create says what isolates the sandbox, and a list of each, with its state', () =>
  withApi(async (served) => {
    const client = controlPlane(served);
    let isolation: string | null = null;
    let states: string | null = null;
    const onHeader = (headers: Headers) => {
      isolation = headers.get('x-skerry-isolation');
      states = headers.get('x-skerry-state');
    };
    const { appId } = served;
    const { sandboxId } = await client.sandboxCreateV2({ appId, definition }, { onHeader });
    assert.equal(isolation, 'gvisor');
    await client.sandboxCreate({ appId, definition }, { onHeader });
    assert.equal(isolation, 'gvisor');
    await client.sandboxTerminateV2({ sandboxId });
    await client.sandboxListV2({ appId, includeFinished: true }, { onHeader });
    assert.equal(isolation, 'gvisor,-');
    assert.match(states ?? '', /^(created|starting|running),ended$/);
  }));

test('tunnels come once the sandbox runs, and a wait for them that is over says so', () =>
  withApi(async (served) => {
    const client = controlPlane(served);
    const held = served.domain.engine.faults.hold('bind');
    const ports = [{ port: 80 }, { port: 81, unencrypted: true }];
    const openPortsOneof = { case: 'openPorts', value: { ports } } as const;
    const { sandboxId } = await client.sandboxCreateV2({
      appId: served.appId,
      definition: { ...definition, openPortsOneof },
    });
    const early = await client.sandboxGetTunnelsV2({ sandboxId, timeout: 0.1 });
    assert.deepEqual([early.result?.status, early.tunnels.length], [Status.TIMEOUT, 0]);
    held.release();
    const { result, tunnels } = await client.sandboxGetTunnels({ sandboxId, timeout: 55 });
    assert.equal(result?.status, Status.SUCCESS);
    const [encrypted, plain] = tunnels;
    assert.deepEqual([encrypted?.containerPort, encrypted?.unencryptedHost], [80, undefined]);
    assert.deepEqual([plain?.containerPort, plain?.unencryptedHost], [81, '127.0.0.1']);
    const addresses = [encrypted?.port, plain?.port, plain?.unencryptedPort];
    assert.equal(new Set(addresses).size, 3);
    for (const port of addresses) assert.ok(port && port >= 20_000 && port <= 29_999, String(port));
    await client.sandboxTerminateV2({ sandboxId });
    await assert.rejects(client.sandboxGetTunnelsV2({ sandboxId, timeout: 1 }), code(Code.NotFound));
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
    const sandboxId = `sb-${'0'.repeat(26)}`;
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
    for (const id of ['sb-none', '', 'im-0000000000000000000000', `sb-${'0'.repeat(21)}/`]) {
      await assert.rejects(
        client.sandboxWaitV2({ sandboxId: id }),
        code(Code.InvalidArgument, /Invalid sandbox ID/),
      );
      await assert.rejects(client.sandboxTagsGet({ sandboxId: id }), code(Code.InvalidArgument));
    }
  }));

test('names and tags: one running sandbox per name; tags filter lists', () =>
  withApi(async (served) => {
    const { client, created } = await sandbox(served, { name: 'worker' });
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
    await client.sandboxTerminateV2({ sandboxId: created.sandboxId });
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
    // Ended ones are lighter to have so many of.
    served.domain.engine.faults.at('prepare', () => {
      throw new Error('it need not start');
    });
    for (let index = 0; index < expected; index++) await sandbox(served);
    const seen: number[] = [];
    for (let beforeTimestamp = 0; ; ) {
      const { sandboxes } = await client.sandboxListV2({
        environmentName: '',
        beforeTimestamp,
        includeFinished: true,
      });
      const last = sandboxes.at(-1);
      if (!last) break;
      seen.push(...sandboxes.map(({ createdAt }) => createdAt));
      beforeTimestamp = last.createdAt;
    }
    assert.equal(seen.length, expected);
    assert.ok(seen.every((at, index) => index === 0 || at < (seen[index - 1] ?? 0)));
  }));

test('results are told in the numbers the clients know', () => {
  const cases: [Parameters<typeof toGenericResult>[0], Status, number][] = [
    [{ kind: 'exited', exitCode: 0 }, Status.SUCCESS, 0],
    [{ kind: 'exited', exitCode: 139 }, Status.FAILURE, 139],
    [{ kind: 'terminated' }, Status.TERMINATED, 137],
    [{ kind: 'timeout' }, Status.TIMEOUT, 124],
    [{ kind: 'idle-timeout' }, Status.IDLE_TIMEOUT, 137],
    [{ kind: 'out-of-memory' }, Status.KERNEL_OOM_KILL, 137],
    [{ kind: 'start-failed', message: 'no such image' }, Status.INIT_FAILURE, 128],
    [{ kind: 'crashed', message: 'agent gone' }, Status.INTERNAL_FAILURE, 1],
  ];
  for (const [result, status, exitcode] of cases) {
    const wire = toGenericResult(result);
    assert.deepEqual([wire.status, wire.exitcode], [status, exitcode]);
    assert.equal(wire.exception !== '', result.kind !== 'exited');
  }
});
