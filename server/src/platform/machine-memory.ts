/** How much memory the machine has. */
import { readFile } from 'node:fs/promises';

export interface MachineMemory {
  /** What programs can have without anything being swapped out, as the kernel estimates it. */
  readonly availableMiB: number;
  readonly totalMiB: number;
}

/** @throws what keeps it from being read; it has no bound of a control group that this process is in */
export async function machineMemory(): Promise<MachineMemory> {
  const text = await readFile('/proc/meminfo', 'utf8');
  const field = (name: string): number => {
    const kib = new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text)?.[1];
    if (kib === undefined) throw new Error(`/proc/meminfo has no ${name}`);
    return Number(kib) / 1024;
  };
  return { availableMiB: field('MemAvailable'), totalMiB: field('MemTotal') };
}
