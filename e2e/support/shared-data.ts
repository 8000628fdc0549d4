/** Data directories that the servers of a test run share, one after the other, and the images that all of them begin with. */
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../server/src/platform/command.ts';
import { holdName } from '../../server/src/platform/held-name.ts';

let claimed: Promise<string | undefined> | undefined;

/**
 * The directory for this file's servers, or undefined when each is to have its own: `npm test` says which there are (SKERRY_E2E_DATA_DIR, and how many files run
 * at a time, SKERRY_E2E_LANES). A file has one to itself for as long as its process lives.
 */
export const sharedDataDir = (): Promise<string | undefined> => {
  claimed ??= claim(process.env.SKERRY_E2E_DATA_DIR, Number(process.env.SKERRY_E2E_LANES ?? 1));
  return claimed;
};

/** What of a server's data directory makes up its images: layers, whose files nobody changes any more, and what is known of them. */
const LAYERS = 'images';
const KNOWN = ['skerry.db', 'vault.key'];

/**
 * Gives a data directory that is empty the images that most tests use, if `npm test` has made them (SKERRY_E2E_BASE_DIR, by `make-base-images.ts`): to make one of Debian's packages takes
 * up to half a minute of processor time. A test for which an image must not be there asks for an empty directory (`freshData`).
 * @param which `many` has those of several files besides, where they were made
 */
export async function giveImages(
  dataDir: string,
  base = process.env.SKERRY_E2E_BASE_DIR,
  which: 'few' | 'many' = 'few',
): Promise<void> {
  if (base === undefined || readdirSync(dataDir).length > 0) return;
  const from = [which, 'few']
    .map((name) => join(base, name))
    .find((path) => existsSync(join(path, 'images')));
  if (from === undefined) return;
  const ofBase = (name: string) => join(from, name);
  const isSameDisk = statSync(from).dev === statSync(dataDir).dev;
  await run(['cp', '-a', ...(isSameDisk ? ['--link'] : []), ofBase(LAYERS), dataDir]);
  await run(['cp', '-a', ...KNOWN.map(ofBase), dataDir]);
}

async function claim(parent: string | undefined, lanes: number): Promise<string | undefined> {
  if (parent === undefined) return undefined;
  for (let lane = 1; lane <= lanes; lane++) {
    const dir = `${parent}/${lane}`;
    if (!(await holdName(`skerry-e2e ${dir}`))) continue;
    if (!existsSync(dir)) {
      mkdirSync(dir, { recursive: true, mode: 0o700 });
      await giveImages(dir, undefined, 'many');
    }
    return dir;
  }
  throw new Error(`More than ${lanes} files of tests run at once: each directory below ${parent} is taken.`);
}
