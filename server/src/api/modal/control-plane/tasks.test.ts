import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Code } from '@connectrpc/connect';
import { code, runningSandbox, withApi } from '../testing/clients.ts';

test('tasks are listed, described and stopped', () =>
  withApi(async (served) => {
    const { client, created } = await runningSandbox(served);
    const { taskId, sandboxId } = created;
    const { tasks } = await client.taskList({});
    assert.deepEqual(
      tasks.map((task) => [task.taskId, task.appId, task.appDescription]),
      [[taskId, served.appId, 'test-app']],
    );
    assert.ok((tasks[0]?.startedAt ?? 0) > 0);
    assert.equal((await client.taskGetInfo({ taskId })).info?.finishedAt, 0);
    await client.containerStop({ taskId });
    const { info } = await client.taskGetInfo({ taskId });
    assert.ok((info?.finishedAt ?? 0) > 0);
    assert.equal(info?.sandboxId, sandboxId);
    assert.deepEqual((await client.taskList({ appId: served.appId })).tasks, []);
    await assert.rejects(client.taskGetInfo({ taskId: 'ta-none' }), code(Code.NotFound));
  }));
