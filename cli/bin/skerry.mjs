#!/usr/bin/env node
/**
 * The `skerry` command for any Node from 18 on: runs what `build.mjs` made of `src/main.ts`, or that itself, when this Node is new enough to run TypeScript, or else starts itself again with the Node 24
 * that npm installed.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleFile, isBundled } from './bundle.mjs';

async function sources() {
  await import('./without-translations.mjs');
  return import('../src/main.ts');
}

function findNode24() {
  try {
    const path = join(dirname(createRequire(import.meta.url).resolve('node/package.json')), 'bin', 'node');
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

if (Number(process.versions.node.split('.')[0]) >= 24) {
  await import('../../server/src/platform/compile-cache.mjs');
  const { main } = isBundled(process.argv[2]) ? createRequire(import.meta.url)(bundleFile) : await sources();
  process.exitCode = await main(process.argv.slice(2));
  // Without being told to end, Node 24.21.0 may free what it has for ever after TLS connections that were cut off (github.com/nodejs/node/issues/47748).
  process.on('exit', (code) => process.exit(code));
} else {
  const node = findNode24();
  if (node === undefined) {
    process.stderr.write(
      'skerry: Node 24 is not installed in node_modules. Run `npm run setup` in the clone.\n',
    );
    process.exit(1);
  }
  const { spawn } = await import('node:child_process'); // others need not load it
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' });
  // The terminal sends an interrupt to both processes; the others reach only this one.
  process.on('SIGINT', () => {});
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.once('error', (error) => {
    process.stderr.write(`skerry: ${node} cannot be started: ${error.message}\n`);
    process.exit(1);
  });
  child.once('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}
