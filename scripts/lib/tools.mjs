/** Programs that only look at what is published and served, in `tools/`: 300 MB that nobody needs who runs Skerry, so they are installed when one is called for. */
import { join } from 'node:path';
import { capture } from './command.mjs';
import { root } from './paths.mjs';
import { nodeModulesAreFresh } from './toolchains.mjs';

const directory = join(root, 'tools');

/** Installs them where they are not. Not for two processes at once. */
export async function ensureTools(progress = () => {}) {
  if (nodeModulesAreFresh(directory)) return 'up to date';
  await capture(['npm', 'ci', '--no-audit', '--no-fund', '--loglevel=http'], { cwd: directory, progress });
  return 'installed from tools/package-lock.json';
}

/** The path of a program of `tools/package.json`, which is there when this resolves. */
export async function tool(name) {
  await ensureTools();
  return join(directory, 'node_modules', '.bin', name);
}
