/**
 * The memory of an instance in plain, for as long as runsc writes or reads it: runsc takes files only, and what is encrypted on the disk must never have been there in plain. So the files are in
 * a file system in memory.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { SkerryError } from '../../errors/skerry-error.ts';
import { run } from '../../platform/command.ts';
import { unmount } from '../../platform/mounts.ts';
import type { Cgroups } from './cgroups.ts';
import type { InstanceLayout } from './layout.ts';

/** For what runsc writes beside the pages, and pages that come to be meanwhile. */
const SLACK_BYTES = 128 << 20;

const bundleSchema = z.object({
  linux: z.object({ resources: z.object({ memory: z.object({ limit: z.number() }) }) }),
});

/** A directory in memory, until it is disposed of. */
export interface PlainMemory extends AsyncDisposable {
  readonly directory: string;
}

/** @param bytes as much as it can hold */
export async function mountPlainMemory({ plainMemory }: InstanceLayout, bytes: number): Promise<PlainMemory> {
  await mkdir(plainMemory, { recursive: true, mode: 0o700 });
  const options = `mode=700,nr_inodes=1k,size=${bytes + SLACK_BYTES}`;
  const mount = (more: string) =>
    run(['mount', '-n', '-t', 'tmpfs', '-o', `${options}${more}`, 'tmpfs', plainMemory]);
  await mount(',noswap').catch(() => mount('')); // Linux knows it from 6.4 on
  return { directory: plainMemory, [Symbol.asyncDispose]: () => removePlainMemory(plainMemory) };
}

/** The same for what an instance writes there itself: that counts for it, and is allowed to it in addition. */
export async function mountOwnPlainMemory(
  places: InstanceLayout,
  cgroups: Pick<Cgroups, 'stats' | 'boundMemory'>,
): Promise<PlainMemory> {
  const { memoryBytes } = await cgroups.stats(places.cgroup);
  const limit = await memoryLimit(places);
  await using undo = new AsyncDisposableStack();
  undo.defer(() => cgroups.boundMemory(places.cgroup, limit));
  await cgroups.boundMemory(places.cgroup, limit + memoryBytes + SLACK_BYTES);
  const { directory } = undo.use(await mountPlainMemory(places, memoryBytes));
  const kept = undo.move();
  return { directory, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** What a killed server left of it. */
export async function removeLeftPlainMemory(
  places: InstanceLayout,
  cgroups: Pick<Cgroups, 'boundMemory'>,
): Promise<void> {
  if (!existsSync(places.plainMemory)) return;
  await removePlainMemory(places.plainMemory);
  await cgroups.boundMemory(places.cgroup, await memoryLimit(places));
}

async function removePlainMemory(directory: string): Promise<void> {
  await unmount([directory]).catch(() => {}); // it was not mounted
  await rmdir(directory);
}

/** As it was started with: gVisor's limits never change. */
async function memoryLimit({ dir, id }: InstanceLayout): Promise<number> {
  const parsed = bundleSchema.safeParse(JSON.parse(await readFile(join(dir, 'config.json'), 'utf8')));
  if (parsed.success) return parsed.data.linux.resources.memory.limit;
  throw new SkerryError('internal', `The bundle of ${id} has no memory limit.`);
}
