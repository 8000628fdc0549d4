import { run } from './command.ts';

/** Writes everything of the file system that a path is on to its disk: what is there survives a power cut from then on. */
export async function syncFilesystem(path: string): Promise<void> {
  await run(['sync', '--file-system', path], { timeoutMs: 10 * 60_000 });
}
