/**
 * The place in the cgroup tree that holds a server's sandboxes. systemd owns the tree of version 2, and what it did not delegate it may change at any
 * time: take a controller away, say, and with it every limit. There the sandboxes are in a unit of their own with `Delegate=`, which is not the server's: they
 * outlive its restarts, and end with the machine. A unit's group goes with its last process, so one that only sleeps is in it; and since a group with limited
 * children may have no process of its own, the sleeper has a child group like everybody else.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError, toSkerryError } from '../../errors/skerry-error.ts';
import { run } from '../../platform/command.ts';
import { isSystemdBooted, sandboxesUnit, serviceUnit } from '../../platform/systemd.ts';

const CGROUP_ROOT = '/sys/fs/cgroup';
/** Of the sleeper; no instance's id looks like this. */
const SLEEPER = 'sleeper';

/** Whether systemd has to be asked for the place: it manages the machine, and the tree is of version 2. */
export const isDelegated = (cgroupRoot: string = CGROUP_ROOT, booted: boolean = isSystemdBooted()): boolean =>
  booted && existsSync(join(cgroupRoot, 'cgroup.controllers'));

/** Path of the place below the root of each hierarchy. */
export const cgroupPlace = (instance: string, delegated: boolean = isDelegated()): string =>
  delegated ? `/system.slice/${sandboxesUnit(instance)}` : `/skerry-${instance}`;

/** Arguments of systemd-run for the unit. @param pids that it may have, threads included */
export const delegationArguments = (instance: string, pids: number): string[] => [
  '--quiet',
  `--unit=${sandboxesUnit(instance)}`,
  '--description=Sandboxes of Skerry',
  '--service-type=exec',
  '--collect',
  '--property=Delegate=yes',
  `--property=TasksMax=${pids}`,
  // Each sandbox has its own limits, and one that runs out of memory is no reason to end the others.
  '--property=OOMPolicy=continue',
  '--property=KillSignal=SIGKILL',
  '--property=SuccessExitStatus=SIGKILL',
  // A shutdown stops in the reverse order: a server that watched its sandboxes being killed would record crashes. The scope of `skerry up` says the same of
  // itself: whatever is named here stays loaded while sandboxes run, and a scope that is loaded cannot be made again.
  `--property=Before=${serviceUnit(instance)}`,
  'sleep',
  'infinity',
];

/** Has systemd make the place, unless it is there or is not systemd's to give: then how many processes it may have is `Cgroups.boundProcesses`'s. @throws SkerryError `unavailable` with systemd's words */
export async function openCgroupPlace(instance: string, pids: number): Promise<void> {
  if (!isDelegated()) return;
  const unit = sandboxesUnit(instance);
  try {
    const { code } = await run(['systemctl', '--quiet', 'is-active', unit], { okCodes: [1, 3, 4] });
    if (code !== 0) {
      await run(['systemctl', '--quiet', 'reset-failed', unit], { okCodes: [1] }); // one that failed is in the way of the new one
      // One that has ended is still known while the server's scope, which names it, is there: then it is started, and cannot be made.
      const { stdout } = await run(['systemctl', 'show', '--property=LoadState', '--value', unit]);
      if (stdout.trim() === 'loaded') await run(['systemctl', 'start', unit]);
      else await run(['systemd-run', ...delegationArguments(instance, pids)]);
    }
    const place = join(CGROUP_ROOT, cgroupPlace(instance));
    await mkdir(join(place, SLEEPER), { recursive: true });
    // A server that was killed here may have left it where it was started.
    const direct = (await readFile(join(place, 'cgroup.procs'), 'utf8')).split('\n').filter(Boolean);
    for (const pid of direct) await writeFile(join(place, SLEEPER, 'cgroup.procs'), pid);
  } catch (error) {
    const why = toSkerryError(error).message;
    throw new SkerryError('unavailable', `systemd gave no cgroup for the sandboxes: ${why}`, {
      cause: error,
    });
  }
}

/** Gives the place back, with whatever is still in it. */
export async function closeCgroupPlace(instance: string): Promise<void> {
  if (!isDelegated()) return;
  await run(['systemctl', 'stop', sandboxesUnit(instance)], { okCodes: [5] }); // 5: it was not loaded
}
