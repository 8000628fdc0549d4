/** A place for a resolver in a test that makes no cgroups: its process is found by its command line. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { delay } from '../../platform/wait.ts';
import type { ProcessPlace } from '../host-process.ts';

export const placeByCommand = (controlSocket: string): ProcessPlace => ({
  make: async () => [],
  clear: async () => {
    for (const pid of await resolversOf(controlSocket)) await killResolver(pid);
  },
});

/** The live processes that were started with this control socket. */
export async function resolversOf(controlSocket: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const words = (await readFile(join('/proc', name, 'cmdline'), 'utf8').catch(() => '')).split('\0');
    if (words[1] === '--identity' && words.includes(controlSocket)) found.push(Number(name));
  }
  return found;
}

/** Kills it as a crash would, and waits until nothing of it runs. */
export async function killResolver(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  // A dead one that nobody has waited for has no command line any more.
  while ((await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')) !== '') await delay(5);
}
