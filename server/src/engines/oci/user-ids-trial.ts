/** Whether instances under runc can have users of their own on this machine: tried once for each boot, runc and version of ours, and remembered. */
import { chown, mkdir, mkdtemp, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { toSkerryError } from '../../errors/skerry-error.ts';
import { run } from '../../platform/command.ts';
import { firstIdOf, givenToOthers } from '../../platform/id-ranges.ts';
import { unmountBelow } from '../../platform/mounts.ts';
import { GUEST_AGENT } from '../paths.ts';
import { createBundle } from './bundle.ts';
import type { Cgroups } from './cgroups.ts';
import type { Layout } from './layout.ts';
import type { OwnLimits } from './own-limits.ts';
import { MappedTrees } from './user-ids.ts';

/** Where others find which ids are somebody's. */
const SUBID_FILES = ['/etc/subuid', '/etc/subgid'];
/** No instance has this slot. */
const TRIAL_SLOT = 0;
/** Of the container that is tried; no instance's id looks like this. */
const TRIAL = 'own-users';
const TIMEOUT_MS = 20_000;
/** The agent's status for what it does not understand. */
const REFUSED = 2;

export interface TrialParts {
  readonly layout: Layout;
  /** The program of `trees/`. */
  readonly program: string;
  readonly runc: string;
  readonly cgroups: Cgroups;
  readonly ownLimits: OwnLimits;
}

const answerSchema = z.object({ key: z.string(), why: z.string().nullable() });

/** What the last trial on this run directory found: undefined when there was none, else why not, or null. */
export async function rememberedTrial(layout: Layout): Promise<string | null | undefined> {
  try {
    return answerSchema.parse(JSON.parse(await readFile(layout.ownUsersFile, 'utf8'))).why;
  } catch {
    return undefined;
  }
}

/** Why no instance can have them; undefined when they can. The directories for instances and what they share must be there. Leaves nothing but its answer. */
export async function whyNoOwnUsers(parts: TrialParts): Promise<string | undefined> {
  const { layout, program, runc } = parts;
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '');
  const files = [program, runc, ...SUBID_FILES];
  const marks = await Promise.all(
    files.map((path) =>
      stat(path).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      ),
    ),
  );
  const key = [boot.trim(), ...files, ...marks].join(' ');
  try {
    const known = answerSchema.parse(JSON.parse(await readFile(layout.ownUsersFile, 'utf8')));
    if (known.key === key) return known.why ?? undefined;
  } catch {
    // no answer yet, or not one that this version understands
  }
  const why = (await whyNoIds(layout)) ?? (await tryOne(parts));
  await writeFile(layout.ownUsersFile, JSON.stringify({ key, why: why ?? null }));
  return why;
}

async function whyNoIds({ runDir }: Layout): Promise<string | undefined> {
  for (const file of SUBID_FILES) {
    const [line] = givenToOthers(await readFile(file, 'utf8').catch(() => ''));
    if (line !== undefined) return `${file} gives ids to somebody that sandboxes would have: ${line}`;
  }
  // runc goes to the root file system as a user of the sandbox.
  for (let directory = dirname(runDir); directory !== '/'; directory = dirname(directory)) {
    if (((await stat(directory)).mode & 0o001) === 0) return `${directory} is closed to other users`;
  }
  return undefined;
}

/** Starts a container as instances are made, whose agent is asked for what it refuses: it ends as runc itself never does. */
async function tryOne(parts: TrialParts): Promise<string | undefined> {
  const { layout, program, runc, cgroups, ownLimits } = parts;
  const trees = new MappedTrees(program);
  const here = join(layout.bundlesDir, TRIAL);
  const cgroup = `${layout.cgroupParent}/${TRIAL}`;
  const onDisk = await mkdtemp(join(layout.instancesDir, 'check-'));
  const runtime = [runc, '--root', layout.runtimeRoot('runc')] as const;
  try {
    const [network, rootfs, disk, socketDir] = ['network', 'rootfs', 'disk', 's'].map((name) =>
      join(here, name),
    ) as [string, string, string, string]; // as many as names
    const users = { path: join(here, 'user'), firstId: firstIdOf(layout.instance, TRIAL_SLOT) };
    await mkdir(here, { mode: 0o700 });
    await run([program, 'make-namespaces', String(users.firstId), users.path, network]);
    const made = ['upper', 'work', 'etc'].map((name) => join(onDisk, name));
    for (const path of [rootfs, disk, socketDir, ...made]) await mkdir(path);
    for (const name of ['hosts', 'hostname', 'resolv.conf']) await writeFile(join(onDisk, 'etc', name), '');
    const layers = [layout.skeletonDir];
    await trees.overlay(users, { layers, writable: onDisk, shown: disk, target: rootfs });
    await mkdir(join(onDisk, 'upper', 'made'));
    if ((await stat(join(rootfs, 'made'))).uid !== users.firstId) return 'overlays do not show other ids';
    await rmdir(join(rootfs, 'made')); // one that cannot be written to is shown all the same
    const devDir = join(here, 'dev');
    await trees.makeDevices(users, devDir);
    const bundle = createBundle({
      ...{ runtime: 'runc', hostname: 'trial', rootfs, devDir, cgroup, users, cgroups, ownLimits, socketDir },
      ...{ networkNamespace: network, binDir: layout.binDir, etcDir: join(disk, 'etc'), mountPointsDir: '' },
      ...{
        limits: { memoryMiB: 64, milliCpu: 1000, milliCpuRequest: 100, pids: 16 },
      },
      mounts: [],
    });
    bundle.process.args = [GUEST_AGENT, 'probe-tcp', 'none'];
    await writeFile(join(here, 'config.json'), JSON.stringify(bundle));
    for (const path of [here, socketDir]) await chown(path, users.firstId, users.firstId);
    const options = { okCodes: [1, REFUSED], timeoutMs: TIMEOUT_MS };
    const { code, stderr } = await run([...runtime, 'run', '--bundle', here, TRIAL], options);
    return code === REFUSED ? undefined : `runc: ${stderr.slice(-500)}`;
  } catch (error) {
    return toSkerryError(error).message;
  } finally {
    await run([...runtime, 'delete', '--force', TRIAL], { okCodes: [1] });
    await cgroups.kill(cgroup);
    await cgroups.remove(cgroup);
    await unmountBelow(here);
    for (const directory of [here, onDisk]) await rm(directory, { recursive: true, force: true });
  }
}
