/**
 * Makes one file of the commands that work in sandboxes, `dist/sandboxes.cjs`: Node begins with it in less than half the time that their sources take it (docs/decisions/0051). Takes a fraction
 * of a second. `bin/bundle.mjs` runs it for as long as the sources are the same.
 */
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildOneFile, replace } from '../scripts/lib/one-file.mjs';
import { bundleFile, contentFile, stampOf } from './bin/bundle.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = dirname(here.replace(/\/$/, ''));
const main = join(here, 'src', 'calling.ts');

/** @returns its bytes, and the files that it is made of, relative to the clone */
export async function buildCommand() {
  const { metafile, outputFiles } = await buildOneFile({
    absWorkingDir: root,
    entryPoints: [main],
    outfile: bundleFile,
  });
  const [{ contents }] = outputFiles;
  const inputs = Object.keys(metafile.inputs);
  // Packages change by being installed, which npm writes down.
  const sources = inputs.filter((path) => !path.startsWith('node_modules/'));
  sources.push('cli/build.mjs', 'scripts/lib/one-file.mjs', 'node_modules/.package-lock.json');
  mkdirSync(dirname(bundleFile), { recursive: true });
  replace(bundleFile, contents);
  const content = {
    commands: Object.keys(createRequire(import.meta.url)(bundleFile).callingCommands),
    sources: Object.fromEntries(sources.map((path) => [path, stampOf(path)])),
  };
  replace(contentFile, JSON.stringify(content));
  return { bytes: contents.length, inputs };
}
