/** GPUs for tests that are none: a CDI file with device numbers of no driver (240 is for local use, Documentation/admin-guide/devices.txt), files and a hook. */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../platform/command.ts';

/** The group that may use the devices, as `video` and `render` are on desktops. */
export const TEST_GPU_GROUP = 4444;
export const TEST_GPU_KIND = 'skerry.test/gpu';
/** Where sandboxes find what the specification mounts. */
export const TEST_GPU_LIBRARY = '/usr/local/lib/test-gpu/library';

export interface TestGpus {
  /** For the setting `cdiDirs`. */
  readonly directory: string;
  /** The hook adds a line here each time it runs: `made hello` while files of the sandbox are made, `begun hello` before or after that. */
  readonly hookLog: string;
}

/** @param types of the devices, which are `skerry.test/gpu=0` and so on: /dev/test-gpu0 with the number 240:0. All but the first can only be read */
export async function makeTestGpus(
  parent: string,
  types: readonly string[] = ['A100', 'A100'],
): Promise<TestGpus> {
  // Under runc a hook runs as the root of the sandbox: it is found by that one, as are those in /usr.
  await chmod(parent, 0o711);
  const directory = join(parent, 'cdi');
  const files = join(parent, 'cdi-files');
  await mkdir(directory, { mode: 0o755 });
  await mkdir(files, { mode: 0o755 });
  const [library, hook, hookLog] = ['library', 'hook', 'hook.log'].map((name) => join(files, name)) as [
    string,
    string,
    string,
  ];
  await writeFile(library, 'the library\n');
  await writeFile(hook, `#!/bin/sh\necho "$1 $HOOK_SAYS" >> '${hookLog}'\n`);
  await chmod(hook, 0o755);
  await writeFile(hookLog, '');
  await chmod(hookLog, 0o666);
  for (const [index] of types.entries())
    await run(['mknod', join(files, `gpu${index}`), 'c', '240', `${index}`]);
  const devices = types.map((type, index) => ({
    name: String(index),
    annotations: { 'skerry/gpu-type': type },
    containerEdits: {
      env: [`TEST_GPU_${index}=yes`],
      deviceNodes: [
        {
          path: `/dev/test-gpu${index}`,
          hostPath: join(files, `gpu${index}`),
          permissions: index === 0 ? 'rw' : 'r',
          fileMode: 0o660,
          gid: TEST_GPU_GROUP,
        },
      ],
    },
  }));
  const common = {
    env: ['TEST_GPUS=some', 'FROM_THE_IMAGE=no'],
    mounts: [
      { hostPath: library, containerPath: TEST_GPU_LIBRARY, options: ['ro', 'nosuid', 'nodev', 'bind'] },
      // As nvidia-ctk has it, to say that no GPU comes by NVIDIA_VISIBLE_DEVICES. /var/run is a link in most images.
      {
        hostPath: '/dev/null',
        containerPath: '/var/run/test-gpu-devices/void',
        options: ['ro', 'nosuid', 'nodev', 'bind'],
      },
    ],
    hooks: [
      { hookName: 'createContainer', path: hook, args: ['hook', 'made'], env: ['HOOK_SAYS=hello'] },
      { hookName: 'createRuntime', path: hook, args: ['hook', 'begun'], env: ['HOOK_SAYS=hello'] },
    ],
    additionalGids: [TEST_GPU_GROUP],
  };
  const all = {
    name: 'all',
    containerEdits: { deviceNodes: devices.flatMap(({ containerEdits }) => containerEdits.deviceNodes) },
  };
  const content = {
    cdiVersion: '0.7.0',
    kind: TEST_GPU_KIND,
    devices: [...devices, all],
    containerEdits: common,
  };
  await writeFile(join(directory, 'test.json'), JSON.stringify(content), { mode: 0o644 });
  return { directory, hookLog };
}
