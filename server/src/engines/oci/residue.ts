/** Taking an instance away, whatever of it exists: the one path for a normal end, a failed start, and what a killed server left. */
import { existsSync } from 'node:fs';
import { readdir, readFile, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type InstanceId, isInstanceId } from '../../ids.ts';
import { unmountBelow } from '../../platform/mounts.ts';
import { haltBuckets } from './buckets.ts';
import type { Cgroups } from './cgroups.ts';
import type { Disks } from './disks.ts';
import type { InstanceLayout, Layout } from './layout.ts';
import type { OciRuntime } from './runtime.ts';

const runtimeNames = ['runc', 'gvisor'] as const;

/** How runsc names the socket by which it commands a sandbox (runsc/sandbox/sandbox.go, `createControlSocket`). */
const controlSocket = (id: InstanceId): string => `runsc-${id}.sock`;
/** Where runsc puts it when there is none to be made in its root: one of that name stands there already, say. */
const CONTROL_SOCKET_FALLBACKS = ['/run', '/tmp'];

/**
 * Kills everything of the instance, then removes its mounts, cgroups and the runtimes' state. Its files stay. `gvisor` is asked to end a container that runs in the
 * kernel of another instance, whose processes no cgroup of its own holds.
 */
export async function haltInstance(
  layout: Layout,
  cgroups: Cgroups,
  places: InstanceLayout,
  gvisor: OciRuntime | undefined,
): Promise<void> {
  if (gvisor && (await sharesKernel(layout, places.id))) {
    try {
      await gvisor.delete(places);
    } catch (error) {
      if (await gvisor.isRunning(places)) throw error; // else the kernel is gone, and everything in it
    }
  }
  const killed = cgroups.kill(places.cgroup);
  // Who waits for a bucket cannot be killed before its program is.
  if (existsSync(places.bucketsDir)) await haltBuckets(cgroups, places, killed);
  await killed;
  await Promise.all([
    unmountBelow(places.dir),
    cgroups.remove(places.cgroup),
    ...runtimeNames.map((name) => removeRuntimeState(layout.runtimeRoot(name), places.id)),
    ...CONTROL_SOCKET_FALLBACKS.map((place) => rm(join(place, controlSocket(places.id)), { force: true })),
  ]);
}

/**
 * Kills runtime commands that a killed server had started for these instances and that go on without it: they may not have entered the instance's cgroup yet, and
 * would finish a sandbox after its residue was removed.
 */
export async function killStarters(layout: Layout, ids: ReadonlySet<InstanceId>): Promise<void> {
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const command = await readFile(join('/proc', pid, 'cmdline'), 'utf8').catch(() => '');
    if (!command.includes(`${layout.runDir}/`)) continue;
    const executable = await readlink(join('/proc', pid, 'exe')).catch(() => '');
    if (!/runc|runsc|skerry-trees/.test(executable)) continue; // somebody reading our log files, say
    if (![...ids].some((id) => command.includes(id))) continue;
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // it ended by itself
    }
  }
}

/** Whether runsc knows the instance as a guest in the kernel of another: its state is named `<instance>_sandbox:<other>.state`. */
async function sharesKernel(layout: Layout, id: InstanceId): Promise<boolean> {
  const names = await readdir(layout.runtimeRoot('gvisor')).catch(() => []);
  return names.some((name) => name.startsWith(`${id}_sandbox:`) && !name.startsWith(`${id}_sandbox:${id}.`));
}

/** Removes the files of a halted instance. */
export async function removeInstanceFiles(places: InstanceLayout, disks: Disks): Promise<void> {
  await Promise.all([rm(places.dir, { recursive: true, force: true }), disks.take(places)]);
}

/** runc keeps a directory named by the id, runsc files that begin with it and a socket. With the processes and cgroups gone, that is all there is. */
async function removeRuntimeState(root: string, id: InstanceId): Promise<void> {
  for (const name of await readdir(root).catch(() => [])) {
    if (
      name === id ||
      name.startsWith(`${id}_`) ||
      name.startsWith(`${id}.`) ||
      name === controlSocket(id) ||
      name.includes(`sandbox:${id}`)
    ) {
      await rm(join(root, name), { recursive: true, force: true });
    }
  }
}

/** Ids of all instances of which anything exists: directories, cgroups, runtime state. */
export async function tracedInstances(layout: Layout, cgroups: Cgroups): Promise<Set<InstanceId>> {
  const names = new Set<string>(await cgroups.children(layout.cgroupParent));
  for (const directory of [layout.bundlesDir, layout.instancesDir, layout.bucketsDir]) {
    for (const name of await readdir(directory).catch(() => [])) names.add(name);
  }
  for (const runtime of runtimeNames) {
    for (const name of await readdir(layout.runtimeRoot(runtime)).catch(() => [])) {
      names.add(/^(?:runsc-)?((?:in|ta)-[0-9A-Za-z]+)/.exec(name)?.[1] ?? '');
    }
  }
  return new Set([...names].filter(isInstanceId));
}
