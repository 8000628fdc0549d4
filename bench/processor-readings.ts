/** What a server, those that work for it, its sandboxes and its client have had of the processor. For cgroups of version 1. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestServer } from '../e2e/support/server.ts';
import { instanceName } from '../server/src/engines/oci/layout.ts';

/** The kernel counts a process's time in these. */
const TICK_MS = 10;

/** Milliseconds that each has had of the processor, and how long it took. */
export interface Reading {
  readonly server: number;
  readonly launcher: number;
  readonly commands: number;
  readonly sandboxes: number;
  readonly client: number;
  readonly wall: number;
}

/** Milliseconds of the processor that a process has had, in it and in the kernel for it, and those of the children that it waited for. */
export function processorTimes(pid: number): { readonly own: number; readonly children: number } {
  const { fields } = statOf(pid);
  const at = (index: number) => Number(fields[index]) * TICK_MS;
  return { own: at(11) + at(12), children: at(13) + at(14) };
}

/** /proc/PID/stat: the name of the program, and the fields behind it. */
function statOf(pid: number): { readonly name: string; readonly fields: readonly string[] } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name is in parentheses, and may hold anything.
  const end = stat.lastIndexOf(')');
  return { name: stat.slice(stat.indexOf('(') + 1, end), fields: stat.slice(end + 2).split(' ') };
}

function launcherOf(server: number): number {
  for (const pid of readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)) {
    try {
      const { name, fields } = statOf(pid);
      if (name === 'skerry-launcher' && Number(fields[1]) === server) return pid;
    } catch {
      // ended meanwhile
    }
  }
  throw new Error('the server has no launcher');
}

function sandboxesMs(instance: string): number {
  const root = `/sys/fs/cgroup/cpuacct/skerry-${instance}`;
  let sum = 0;
  for (const name of readdirSync(root)) {
    if (!name.startsWith('in-')) continue;
    try {
      sum += Number(readFileSync(join(root, name, 'cpuacct.usage'), 'utf8')) / 1e6;
    } catch {
      // ended meanwhile
    }
  }
  return sum;
}

/** What was had so far by everybody who has a part in what this server does. */
export function reading(server: TestServer): Reading {
  const launcher = processorTimes(launcherOf(server.pid));
  const { user, system } = process.cpuUsage();
  return {
    server: processorTimes(server.pid).own,
    launcher: launcher.own,
    commands: launcher.children,
    sandboxes: sandboxesMs(instanceName(server.dataDir)),
    client: (user + system) / 1000,
    wall: performance.now(),
  };
}

/** The difference of two, for each of so many. */
export const less = (after: Reading, before: Reading, count: number): Reading =>
  Object.fromEntries(
    Object.keys(after).map((key) => [
      key,
      (after[key as keyof Reading] - before[key as keyof Reading]) / count,
    ]),
  ) as unknown as Reading;

/** What work on a server takes, for each of the so many things that it does. */
export async function during(
  { server }: { readonly server: TestServer },
  count: number,
  work: () => Promise<unknown>,
): Promise<Reading> {
  const before = reading(server);
  await work();
  return less(reading(server), before, count);
}
