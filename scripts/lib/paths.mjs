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

/** What all clones of a user share: the gVisor binary. The server looks there too. */
export const cacheDir = (env = process.env) =>
  join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache'), 'skerry');

/**
 * The CA bundle that sandboxes have to trust as well, from SKERRY_EXTRA_CA_FILE or from what the machine's other tools were
 * told (networks that inspect TLS); undefined when there is none.
 */
export const extraCaFile = (env = process.env) =>
  env.SKERRY_EXTRA_CA_FILE || env.NODE_EXTRA_CA_CERTS || env.SSL_CERT_FILE || undefined;
