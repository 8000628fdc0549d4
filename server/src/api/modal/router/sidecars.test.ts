import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Code } from '@connectrpc/connect';
import { BASE_IMAGE } from '../../../sandboxes/testing/test-images.ts';
import {
  NetworkAccess_NetworkAccessType as AccessType,
  GenericResult_GenericStatus as Status,
} from '../gen/modal/common_pb.ts';
import { TaskExecStdoutConfig } from '../gen/modal/task_command_router_pb.ts';
import { code, collect, controlPlane, sandbox, withApi } from '../testing/clients.ts';

const definition = { imageId: BASE_IMAGE, entrypointArgs: ['sleep', '1000'] };

test('create through either service; get, list, wait, terminate', () =>
  withApi(async (served) => {
    const { client, created, made, exec } = await sandbox(served);
    const { sandboxId, taskId } = created;
    const first = await client.sandboxContainerCreateV2({
      sandboxId,
      containerName: 'db',
      definition: { ...definition, workdir: '/srv', resources: { memoryMb: 64 } },
      secretSources: [{ source: { case: 'env', value: { contents: { A: 'b' } } } }],
    });
    assert.equal(first.containerName, 'db');
    const { containerId } = first;
    const [sidecar] = served.sandboxes.sidecars.list(made, false);
    assert.deepEqual([sidecar?.name, sidecar?.taskId], ['db', containerId]);
    const spec = served.domain.store.sandboxes.getByTask(sidecar?.taskId ?? assert.fail())?.spec;
    assert.deepEqual([spec?.imageId, spec?.args, spec?.workdir], [BASE_IMAGE, ['sleep', '1000'], '/srv']);
    assert.equal(spec?.resources.memoryMiB, 64);
    const target = { taskId, execId: 'env' };
    const commandArgs = ['sh', '-c', 'echo $A; pwd'];
    await exec.taskExecStart({
      ...target,
      containerId,
      commandArgs,
      stdoutConfig: TaskExecStdoutConfig.PIPE,
    });
    assert.equal(await collect(exec.taskExecStdioRead(target)), 'b\n/srv\n');
    const second = await exec.taskContainerCreate({
      taskId,
      containerName: 'cache',
      imageId: BASE_IMAGE,
      env: { C: 'd' },
      memoryReserveConsumeMib: 32,
    });
    const names = async (includeTerminated: boolean) =>
      (await exec.taskContainerList({ taskId, includeTerminated })).containers.map(
        ({ containerName }) => containerName,
      );
    assert.deepEqual(await names(false), ['cache', 'db'], 'newest first');
    assert.equal(
      (await exec.taskContainerGet({ taskId, containerName: 'db' })).container?.containerId,
      containerId,
    );
    assert.equal((await exec.taskContainerWait({ taskId, containerId, timeout: 0 })).result, undefined);
    const waiting = exec.taskContainerWait({ taskId, containerId, timeout: 10 });
    await exec.taskContainerTerminate({ taskId, containerId });
    assert.equal((await waiting).result?.status, Status.TERMINATED);
    await exec.taskContainerTerminate({ taskId, containerId });
    assert.deepEqual([await names(false), await names(true)], [['cache'], ['cache', 'db']]);
    await assert.rejects(exec.taskContainerGet({ taskId, containerName: 'db' }), code(Code.NotFound));
    const { container } = await exec.taskContainerGet({
      taskId,
      containerName: 'db',
      includeTerminated: true,
    });
    assert.equal(container?.result?.status, Status.TERMINATED);
    assert.notEqual(second.containerId, containerId);
  }));

test('names: the main one is reserved, a taken one is ALREADY_EXISTS, a repeated request is not', () =>
  withApi(async (served) => {
    const { created } = await sandbox(served);
    const { sandboxId } = created;
    const make = (containerName: string, key = '') =>
      controlPlane(served, { ...served.credentials, 'x-idempotency-key': key }).sandboxContainerCreateV2({
        sandboxId,
        containerName,
        definition,
      });
    for (const name of ['main', '', 'a b', 'x'.repeat(65)]) {
      await assert.rejects(make(name), code(Code.InvalidArgument, /container_name/));
    }
    const { containerId } = await make('db', 'key');
    assert.equal((await make('db', 'key')).containerId, containerId);
    await assert.rejects(make('db', 'other'), code(Code.AlreadyExists));
  }));

test('what a sidecar cannot have is refused by name', () =>
  withApi(async (served) => {
    const { client, created, made } = await sandbox(served);
    const { sandboxId } = created;
    const refused = (extra: object, expected: Code, message: RegExp) =>
      assert.rejects(
        client.sandboxContainerCreateV2({
          sandboxId,
          containerName: 'x',
          definition: { ...definition, ...extra },
        }),
        code(expected, message),
      );
    await refused({ timeoutSecs: 5 }, Code.Unimplemented, /timeout_secs/);
    await refused({ name: 'n' }, Code.Unimplemented, /name/);
    await refused({ proxyId: 'pr-1' }, Code.Unimplemented, /proxy_id/);
    await refused({ includeOidcIdentityToken: true }, Code.Unimplemented, /oidc/);
    const access = (networkAccessType: AccessType, allowedCidrs: string[] = []) => ({
      networkAccess: { networkAccessType, allowedCidrs },
    });
    await refused(access(AccessType.BLOCKED), Code.InvalidArgument, /network_access/);
    await refused(access(AccessType.ALLOWLIST, ['192.0.2.0/24']), Code.Unimplemented, /allow-list/);
    await assert.rejects(
      client.sandboxContainerCreateV2({ sandboxId, containerName: 'x' }),
      code(Code.InvalidArgument),
    );
    assert.deepEqual(served.sandboxes.sidecars.list(made, true), []);
  }));

test('exec in a sidecar; its process is found by its id, which no other container may use', () =>
  withApi(async (served) => {
    const { client, created, made, exec } = await sandbox(served);
    const { sandboxId, taskId } = created;
    const { containerId } = await client.sandboxContainerCreateV2({
      sandboxId,
      containerName: 'db',
      definition,
    });
    const start = (execId: string, id: string) =>
      exec.taskExecStart({
        taskId,
        execId,
        containerId: id,
        commandArgs: ['sh', '-c', 'printf "from the sidecar"; exit 4'],
        stdoutConfig: TaskExecStdoutConfig.PIPE,
      });
    await start('e-1', containerId);
    await start('e-1', containerId);
    assert.equal(await collect(exec.taskExecStdioRead({ taskId, execId: 'e-1' })), 'from the sidecar');
    assert.deepEqual((await exec.taskExecWait({ taskId, execId: 'e-1' })).exitStatus, {
      case: 'code',
      value: 4,
    });
    assert.equal(made.processes().length, 0);
    await start('e-2', 'main');
    assert.equal(made.processes().length, 1);
    await assert.rejects(start('e-1', ''), code(Code.InvalidArgument, /another container/));
    await assert.rejects(start('e-2', containerId), code(Code.InvalidArgument, /another container/));
    await assert.rejects(start('e-3', 'ta-none'), code(Code.NotFound));
  }));

test('a token reaches the sidecars of its own sandbox only', () =>
  withApi(async (served) => {
    const one = await sandbox(served);
    const two = await sandbox(served);
    const { containerId } = await one.client.sandboxContainerCreateV2({
      sandboxId: one.created.sandboxId,
      containerName: 'db',
      definition,
    });
    const { taskId } = two.created;
    await assert.rejects(two.exec.taskContainerTerminate({ taskId, containerId }), code(Code.NotFound));
    await assert.rejects(
      two.exec.taskContainerTerminate({ taskId: one.created.taskId, containerId }),
      code(Code.PermissionDenied),
    );
    assert.equal(served.sandboxes.sidecars.list(one.made, false).length, 1);
  }));
