/** Data directories that the servers of a test run share, one after the other, so that base images are made once. */
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';

let claimed: Promise<string | undefined> | undefined;

/**
 * The directory for this file's servers, or undefined when each is to have its own: `npm test` says which there are (SKERRY_E2E_DATA_DIR, and how many files run
 * at a time, SKERRY_E2E_LANES). A file has one to itself for as long as its process lives.
 */
export const sharedDataDir = (): Promise<string | undefined> => {
  claimed ??= claim(process.env.SKERRY_E2E_DATA_DIR, Number(process.env.SKERRY_E2E_LANES ?? 1));
  return claimed;
};

async function claim(parent: string | undefined, lanes: number): Promise<string | undefined> {
  if (parent === undefined) return undefined;
  for (let lane = 1; lane <= lanes; lane++) {
    const dir = `${parent}/${lane}`;
    if (!(await hold(dir))) continue;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    return dir;
  }
  throw new Error(`More than ${lanes} files of tests run at once: each directory below ${parent} is taken.`);
}

/** Holds a name that is free again when this process ends, however it does: an abstract socket. @returns whether nobody else has it */
async function hold(name: string): Promise<boolean> {
  const holder = createServer().unref();
  try {
    await once(holder.listen({ path: `\0skerry-e2e ${name}` }), 'listening');
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  }
}
