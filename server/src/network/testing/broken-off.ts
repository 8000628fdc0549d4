/** What a machine in a network namespace leaves outside of it when the program that plays it is broken off. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cleanup } from '../../platform/cleanup.ts';
import { placeByCommand } from './resolver-place.ts';

/** The socket of the resolver of a machine that keeps its files in a directory. */
export const resolverSocket = (directory: string): string => join(directory, 'resolver.sock');

/** Has it removed in the end. */
export async function cleanUpAfter(cleanup: Cleanup, namespace: string, directory: string): Promise<void> {
  const { ino } = await stat(join('/run/netns', namespace));
  cleanup.add('forwarding', async () => {
    const left = (await readdir('/run')).filter((name) => name.startsWith('skerry-forwarding-'));
    for (const name of left) if (name.split('-').includes(String(ino))) await rm(join('/run', name));
  });
  cleanup.add('resolver', placeByCommand(resolverSocket(directory)).clear);
}
