/** The commands in one file, where `build.mjs` has made it and its sources have not changed since. */
import { readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const clone = new URL('../../', import.meta.url);
export const bundleFile = fileURLToPath(new URL('cli/dist/sandboxes.cjs', clone));
/** Which commands are in it, and when which source of it was written: `{ commands, sources }`. */
export const contentFile = fileURLToPath(new URL('cli/dist/sandboxes.json', clone));

/** Tells a source that was changed, or is gone, from one that was not. @param path relative to the clone */
export function stampOf(path) {
  const stat = statSync(new URL(path, clone), { throwIfNoEntry: false });
  return stat && `${stat.mtimeMs} ${stat.size}`;
}

/** Whether that command can be run from the bundle as it is. @param from what is known of another than this clone's, for tests */
export function isBundled(command, from = contentFile) {
  let content;
  try {
    content = JSON.parse(readFileSync(from, 'utf8'));
  } catch {
    return false; // it was never made
  }
  return (
    content.commands.includes(command) &&
    Object.entries(content.sources).every(([path, stamp]) => stampOf(path) === stamp)
  );
}
