/** A short program through every minor version of the official clients: `npm run test:clients [-- WORD ...]`. Not part of `npm test`: it takes half an hour. */
import { join } from 'node:path';
import { attach } from './lib/command.mjs';
import { node, root } from './lib/paths.mjs';
import { runMain } from './lib/step.mjs';
import { setup } from './setup.mjs';

await runMain(async () => {
  await setup();
  return attach([node, join(root, 'e2e', 'clients', 'main.ts'), ...process.argv.slice(2)], { cwd: root });
});
