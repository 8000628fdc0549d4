/** Makes `command/dist/`: what the package `skerry-cli` has of the command. `npm pack` and `npm publish` run it in `command/`. */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bundleFile } from './bin/bundle.mjs';
import { buildCommand } from './build.mjs';

const root = new URL('../', import.meta.url);
const dist = new URL('command/dist/', root);
const { inputs } = await buildCommand();
mkdirSync(dist, { recursive: true });
copyFileSync(bundleFile, fileURLToPath(new URL('skerry.cjs', dist)));
writeFileSync(new URL('licences.txt', dist), licencesOf(inputs));

/** The licences of the packages of others that are in the bundle, which ask for being passed on with it. @param inputs relative to the clone */
function licencesOf(inputs) {
  const packages = inputs.flatMap((path) => /^node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path) ?? []);
  return [...new Set(packages)]
    .sort()
    .map((path) => {
      const directory = new URL(`${path}/`, root);
      const { name, version } = JSON.parse(readFileSync(new URL('package.json', directory), 'utf8'));
      const file = readdirSync(directory).find((each) => /^licen[cs]e/i.test(each));
      if (file === undefined) throw new Error(`${name} has no licence that could be passed on.`);
      return `${name} ${version}\n\n${readFileSync(new URL(file, directory), 'utf8').trim()}\n`;
    })
    .join('\n----\n\n');
}
