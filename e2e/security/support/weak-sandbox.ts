/**
 * A sandbox like one of Skerry's but for one mechanism: started by the test, with the runtime's own command, from the bundle that Skerry made for a sandbox
 * that runs, after an edit. It shares that one's root file system, and has a cgroup and a network of its own.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cgroupPlace } from '../../../server/src/engines/oci/cgroup-place.ts';
import { Cgroups } from '../../../server/src/engines/oci/cgroups.ts';
import { gvisorOptions } from '../../../server/src/engines/oci/runtime.ts';
import { Cleanup } from '../../../server/src/platform/cleanup.ts';
import { run } from '../../../server/src/platform/command.ts';
import { unmountBelow } from '../../../server/src/platform/mounts.ts';
import { patient } from '../../support/slowness.ts';
import type { Runtime } from './attack.ts';
import type { StrongSandbox } from './strong-sandbox.ts';
import type { Bundle, CanaryPlaces, Weakening } from './weakenings.ts';

const TIMEOUT_MS = patient(240_000);
let count = 0;

/** @returns what the program prints in a sandbox that is weakened like this. @throws when it cannot be started */
export async function runWeakened(
  strong: StrongSandbox,
  weakenings: readonly Weakening[],
  canary: CanaryPlaces,
  argv: readonly string[],
  input: string,
): Promise<string> {
  const id = `skerry-attacks-${process.pid}-${++count}`;
  const done = new Cleanup();
  try {
    const dir = await mkdtemp(join(tmpdir(), 'skerry-weak-'));
    done.add('bundle', async () => {
      await unmountBelow(dir); // runsc keeps an empty network namespace there
      await rm(dir, { recursive: true, force: true });
    });
    // The bundle is what `server/src/engines/oci/bundle.ts` made; its parts that edits touch are named by the type.
    const bundle = JSON.parse(await readFile(join(strong.directory, 'config.json'), 'utf8')) as Bundle;
    const cgroup = `${cgroupPlace(strong.server)}/${id}`;
    bundle.process.args = [...argv];
    bundle.linux.cgroupsPath = cgroup;
    useMachineUsers(bundle);
    bundle.linux.namespaces = bundle.linux.namespaces.map(({ type }) => ({
      type,
      ...(type === 'network' && { path: `/run/netns/${id}` }),
    }));
    await run(['ip', 'netns', 'add', id]);
    done.add('network', () => run(['ip', 'netns', 'delete', id]));
    await run(['ip', '-n', id, 'link', 'set', 'lo', 'up']);
    for (const { edit } of weakenings) edit(bundle, canary);
    await writeFile(join(dir, 'config.json'), JSON.stringify(bundle));
    const options = weakenings.flatMap((each) => each.options ?? []);
    const runtime = command(strong.runtime, strong.runtimePath, join(dir, 'state'), options);
    const cgroups = await Cgroups.detect();
    done.add('cgroup', () => cgroups.remove(cgroup));
    done.add('container', () => run([...runtime, 'delete', '--force', id], { okCodes: [1, 128] }));
    const left = weakenings.flatMap(({ leavesOpen }) => (leavesOpen ? [canary[leavesOpen]] : []));
    const argvOfRun = [
      ...runtime,
      'run',
      ...left.flatMap(() => ['--preserve-fds', '1']),
      '--bundle',
      dir,
      id,
    ];
    const started = left.flatMap((directory) => ['sh', '-c', 'exec 3<"$0"; exec "$@"', directory]);
    const [first = '', ...rest] = [...started, ...argvOfRun];
    const { stdout } = await run([first, ...rest], { input, timeoutMs: TIMEOUT_MS });
    return stdout;
  } finally {
    await done.run();
  }
}

/** A user namespace is one more wall behind most others, and would hide whether the first one stands. */
function useMachineUsers({ linux, mounts }: Bundle): void {
  linux.namespaces = linux.namespaces.filter(({ type }) => type !== 'user');
  delete linux.uidMappings;
  delete linux.gidMappings;
  for (const mount of mounts) {
    if (mount.destination === '/dev' && mount.type === 'bind')
      Object.assign(mount, {
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'mode=755', 'size=65536k'],
      });
    mount.options = mount.options.filter((option) => !/^r?idmap$/.test(option));
    delete mount.uidMappings;
    delete mount.gidMappings;
  }
}

const command = (
  runtime: Runtime,
  path: string,
  root: string,
  options: readonly string[],
): [string, ...string[]] => [
  path,
  '--root',
  root,
  ...(runtime === 'gvisor' ? gvisorOptions : []),
  ...options,
];

/** The same in the sandbox's root file system alone. */
export async function runInChroot(
  strong: StrongSandbox,
  argv: readonly string[],
  input: string,
): Promise<string> {
  const { stdout } = await run(['chroot', join(strong.directory, 'rootfs'), ...argv], { input });
  return stdout;
}
