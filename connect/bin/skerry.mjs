#!/usr/bin/env node
/** The `skerry` command of a machine that has only this package: it knows `connect`. */
import { main } from '../dist/main.js';

process.exitCode = await main(process.argv.slice(2));
// Without being told to end, Node 24.21.0 may free what it has for ever after TLS connections that were cut off (github.com/nodejs/node/issues/47748).
process.on('exit', (code) => process.exit(code));
