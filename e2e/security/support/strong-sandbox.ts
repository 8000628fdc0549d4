/** A sandbox as users have it: made by the server through the official client. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  TaskExecStderrConfig,
  TaskExecStdioFileDescriptor,
  TaskExecStdoutConfig,
} from '../../../server/src/api/modal/gen/modal/task_command_router_pb.ts';
import { defaultRunDir, instanceName } from '../../../server/src/engines/oci/layout.ts';
import { collect, controlPlane, router } from '../../life/support/wire.ts';
import { runPython } from '../../support/clients.ts';
import { machineRuntimes } from '../../support/runtimes.ts';
import type { TestServer } from '../../support/server.ts';
import type { Runtime } from './attack.ts';

export interface StrongSandbox {
  readonly id: string;
  readonly runtime: Runtime;
  /** Path of the runtime's program. */
  readonly runtimePath: string;
  /** Name of its server's things on the machine. */
  readonly server: string;
  /** Of its bundle, on the machine. */
  readonly directory: string;
  /** Runs a program with this input and gives what it prints. @throws when the server refuses */
  run(argv: readonly string[], input?: string): Promise<string>;
}

/** @param options more arguments of `modal.Sandbox.create`, as Python */
export async function createSandbox(
  server: TestServer,
  runtime: Runtime,
  options = '',
): Promise<StrongSandbox> {
  const finding = (await machineRuntimes())[runtime];
  assert.ok(finding.ok);
  const bundles = join(defaultRunDir(server.dataDir), 't');
  const before = new Set(await readdir(bundles));
  const made = await runPython(
    server,
    `import modal
app = modal.App.lookup("attacks", create_if_missing=True)
image = modal.Image.from_registry("python:3.11-slim")
sandbox = modal.Sandbox.create(app=app, image=image, timeout=1800, ${options})
sandbox.exec("true").wait()
print(sandbox.object_id)`,
  );
  assert.equal(made.code, 0, made.stderr);
  const id = made.stdout.trim();
  const [instance = '', ...others] = (await readdir(bundles)).filter((name) => !before.has(name));
  assert.deepEqual(others, [], 'one sandbox, one bundle');
  const { jwt } = await controlPlane(server).sandboxGetCommandRouterAccess({
    target: { case: 'sandboxId', value: id },
  });
  const { taskId = '' } = await controlPlane(server).sandboxGetTaskIdV2({ sandboxId: id });
  const client = router(server, jwt);
  return {
    id,
    runtime,
    runtimePath: finding.path,
    server: instanceName(server.dataDir),
    directory: join(bundles, instance),
    run: async (argv, input = '') => {
      const execId = randomUUID();
      await client.taskExecStart({
        ...{ taskId, execId, commandArgs: [...argv] },
        stdoutConfig: TaskExecStdoutConfig.PIPE,
        stderrConfig: TaskExecStderrConfig.PIPE,
      });
      await client.taskExecStdinWrite({ taskId, execId, data: Buffer.from(input), eof: true });
      const fileDescriptor = TaskExecStdioFileDescriptor.STDOUT;
      return collect(client.taskExecStdioRead({ taskId, execId, fileDescriptor }));
    },
  };
}
