/**
 * The server's process, which `skerry up` runs: from one file, where `npm run setup` has made it of the sources as they are, or else from these.
 *
 *   node server/src/main.ts [--setting value ...]    serve until SIGTERM or SIGINT; sandboxes outlive it
 *   node server/src/main.ts --destroy-all [...]      end what a stopped server left and remove it from the machine
 */
import './platform/compile-cache.mjs';
import { createRequire } from 'node:module';
import { bundleFile, isBundled } from '../bundle.mjs';

// Clients wait out a restart: the one file saves more than half of it, and compiled code of the last start half of the rest. Only what is imported from here on profits from that, where the first
// import did not come first by itself (`nodeFlags`).
const { serve }: typeof import('./serve.ts') = isBundled()
  ? createRequire(import.meta.url)(bundleFile)
  : await import('./serve.ts');
await serve(process.argv.slice(2));
