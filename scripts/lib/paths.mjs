/** Places the scripts use. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the clone. */
export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** Node 24, installed by npm. */
export const node = join(root, 'node_modules', '.bin', 'node');

/** What is made for this clone alone and may be deleted at any time: virtual environments, compiled examples. */
export const localDir = join(root, '.skerry');

/** What all clones of a user share: gVisor, and a Go that was fetched to build it. The server looks there too. */
export const cacheDir = (env = process.env) =>
  join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache'), 'skerry');
