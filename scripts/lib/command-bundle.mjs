/** The commands that are to start quickly, in one file, made anew when a source of them is another. */
import { isBundled } from '../../cli/bin/bundle.mjs';
import { buildCommand } from '../../cli/build.mjs';

export async function ensureCommand() {
  if (isBundled('run')) return 'up to date';
  const { bytes } = await buildCommand();
  return `${Math.round(bytes / 1000)} KB`;
}
