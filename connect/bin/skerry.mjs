#!/usr/bin/env node
/** The `skerry` command of a machine that has only this package: it knows `connect`. */
import { main } from '../dist/main.js';

process.exitCode = await main(process.argv.slice(2));
