/** The bench: `npm run bench [-- --rounds N]`. Docker takes part when it is installed (Debian package docker.io). */
import { join } from 'node:path';
import { attach } from './lib/command.mjs';
import { node, root } from './lib/paths.mjs';
import { runMain, SetupError } from './lib/step.mjs';
import { setup } from './setup.mjs';

await runMain(async () => {
  if (process.getuid?.() !== 0) throw new SetupError('The bench needs root. Run: sudo npm run bench');
  await setup();
  return attach([node, join(root, 'bench', 'main.ts'), ...process.argv.slice(2)], { cwd: root });
});
