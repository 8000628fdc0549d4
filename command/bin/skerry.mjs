#!/usr/bin/env node
/** The `skerry` command of a machine that has this package and no clone: `dist/skerry.cjs` has those of its commands that call a server. */
import module, { createRequire } from 'node:module';

const [major] = process.versions.node.split('.');
if (Number(major) < 24) {
  process.stderr.write(`skerry: this needs Node 24 or later, and runs under ${process.versions.node}.\n`);
  process.exit(1);
}
module.enableCompileCache();
const { packageMain } = createRequire(import.meta.url)('../dist/skerry.cjs');
process.exitCode = await packageMain(process.argv.slice(2));
// Without being told to end, Node 24.21.0 may free what it has for ever after TLS connections that were cut off (github.com/nodejs/node/issues/47748).
process.on('exit', (code) => process.exit(code));
