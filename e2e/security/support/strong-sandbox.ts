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
  /** Starts a program that goes on; resolves when it printed something. */
  background(argv: readonly string[]): Promise<void>;
}

/** @param options for each sandbox: more arguments of `modal.Sandbox.create`, as Python */
export async function createSandboxes(
  server: TestServer,
  runtime: Runtime,
  options: readonly string[],
): Promise<StrongSandbox[]> {
  const finding = (await machineRuntimes())[runtime];
  assert.ok(finding.ok);
  const made = await runPython(
    server,
    `import modal
app = modal.App.lookup("attacks", create_if_missing=True)
image = modal.Image.from_registry("python:3.11-slim")
for options in [${options.map((each) => `dict(${each})`).join(', ')}]:
    sandbox = modal.Sandbox.create(app=app, image=image, timeout=1800, **options)
    sandbox.exec("sh", "-c", f"echo > /{sandbox.object_id}").wait()
    print(sandbox.object_id)`,
  );
  assert.equal(made.code, 0, made.stderr);
  const ids = made.stdout.split('\n').filter((id) => id !== '');
  const { path: runtimePath } = finding;
  return Promise.all(ids.map((id) => openSandbox(server, { id, runtime, runtimePath })));
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
  const start = async (argv: readonly string[], input: string) => {
    const execId = randomUUID();
    await client.taskExecStart({
      ...{ taskId, execId, commandArgs: [...argv] },
      stdoutConfig: TaskExecStdoutConfig.PIPE,
      stderrConfig: TaskExecStderrConfig.PIPE,
    });
    await client.taskExecStdinWrite({ taskId, execId, data: Buffer.from(input), eof: true });
    const fileDescriptor = TaskExecStdioFileDescriptor.STDOUT;
    return client.taskExecStdioRead({ taskId, execId, fileDescriptor });
  };
  return {
    ...known,
    server: instanceName(server.dataDir),
    directory: await bundleOf(server, id),
    run: async (argv, input = '') => {
      const output = await start(argv, input);
      return collect(output);
    },
    background: async (argv) => {
      const output = await start(argv, '');
      await output[Symbol.asyncIterator]().next();
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
