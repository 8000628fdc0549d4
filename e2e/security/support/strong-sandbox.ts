/** A sandbox as users have it: made by the server through the official client. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
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

/**
 * @param count of sandboxes, all alike
 * @param options more arguments of `modal.Sandbox.create`, as Python
 */
export async function createSandboxes(
  server: TestServer,
  runtime: Runtime,
  count: number,
  options = '',
): Promise<StrongSandbox[]> {
  const finding = (await machineRuntimes())[runtime];
  assert.ok(finding.ok);
  const made = await runPython(
    server,
    `import modal
app = modal.App.lookup("attacks", create_if_missing=True)
image = modal.Image.from_registry("python:3.11-slim")
for _ in range(${count}):
    sandbox = modal.Sandbox.create(app=app, image=image, timeout=1800, ${options})
    mark = sandbox.object_id
    sandbox.exec("sh", "-c", f"echo > /{mark}").wait()
    print(sandbox.object_id)`,
  );
  assert.equal(made.code, 0, made.stderr);
  return Promise.all(
    made.stdout.split('\n').map((id) => openSandbox(server, { id, runtime, runtimePath: finding.path })),
  );
}

async function openSandbox(
  server: TestServer,
  known: Pick<StrongSandbox, 'id' | 'runtime' | 'runtimePath'>,
): Promise<StrongSandbox> {
  const control = controlPlane(server);
  const { id } = known;
  const { jwt } = await control.sandboxGetCommandRouterAccess({ target: { case: 'sandboxId', value: id } });
  const { taskId = '' } = await control.sandboxGetTaskIdV2({ sandboxId: id });
  const client = router(server, jwt);
  return {
    ...known,
    server: instanceName(server.dataDir),
    directory: await bundleOf(server, id),
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

/** No wire names it: it is known by the file that its sandbox wrote. */
async function bundleOf(server: TestServer, id: string): Promise<string> {
  const bundles = join(defaultRunDir(server.dataDir), 't');
  const names = await readdir(bundles);
  const name = names.find((each) => existsSync(join(bundles, each, 'rootfs', id)));
  assert.ok(name !== undefined, `no bundle is of ${id}`);
  return join(bundles, name);
}
