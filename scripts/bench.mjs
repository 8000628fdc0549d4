/** The benches: `npm run bench [-- --rounds N]`, `npm run bench:storage`, `npm run bench:network`, `npm run bench:streams`, `npm run bench:growth`, `npm run bench:arrivals`, `npm run bench:gvisor`, `npm run bench:memory`, `npm run bench:sandboxes`, `npm run bench:warm-up`, `npm run bench:command`, `npm run bench:start`, `npm run bench:processor` and `npm run bench:images`. Docker takes part when it is installed (Debian package docker.io). */
import { join } from 'node:path';
import { attach } from './lib/command.mjs';
import { node, root } from './lib/paths.mjs';
import { runMain, SetupError } from './lib/step.mjs';
import { pythonClientVersions, setup, setupPythonClients } from './setup.mjs';

await runMain(async () => {
  if (process.getuid?.() !== 0) throw new SetupError('The bench needs root. Run: sudo npm run bench');
  await setup();
  const [program = '', ...args] = process.argv.slice(2);
  if (['storage.ts', 'images.ts'].includes(program))
    await setupPythonClients(pythonClientVersions.slice(0, 1));
  return attach([node, join(root, 'bench', program), ...args], { cwd: root });
});
