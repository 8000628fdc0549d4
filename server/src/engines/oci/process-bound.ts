/** How many processes and threads all sandboxes may have together: the machine has so many numbers for them (proc(5), `pid_max`), and needs some itself. */
import { readFile } from 'node:fs/promises';

/** Of what the machine may have. */
const SHARE = 0.9;

/** @param setting 0: nearly as many as the machine may have */
export async function processBound(setting: number): Promise<number> {
  if (setting > 0) return setting;
  const files = ['/proc/sys/kernel/pid_max', '/proc/sys/kernel/threads-max'];
  const limits = await Promise.all(files.map(async (file) => Number(await readFile(file, 'utf8'))));
  return Math.floor(Math.min(...limits) * SHARE);
}
