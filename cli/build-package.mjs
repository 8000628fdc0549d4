/** Makes `command/dist/`: what the package `skerry-cli` has of the command. `npm pack` and `npm publish` run it in `command/`. */
import { copyFileSync, mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bundleFile } from './bin/bundle.mjs';
import { buildCommand } from './build.mjs';

const dist = new URL('../command/dist/', import.meta.url);
await buildCommand();
mkdirSync(dist, { recursive: true });
copyFileSync(bundleFile, fileURLToPath(new URL('skerry.cjs', dist)));
