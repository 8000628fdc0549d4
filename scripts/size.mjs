/** `npm run size`: fails when what a page loads of the packages, or the dashboard's first view, is larger than `tools/.size-limit.json` lets it be. Builds all three. */
import { join } from 'node:path';
import { capture } from './lib/command.mjs';
import { ensureDashboard } from './lib/dashboard.mjs';
import { root } from './lib/paths.mjs';
import { runMain, step } from './lib/step.mjs';
import { ensureTools, tool } from './lib/tools.mjs';

const PACKAGES = ['sdk', 'modbox-sdk'];

await runMain(async () => {
  await step('Tools', ensureTools);
  await step('Dashboard', ensureDashboard);
  await step('Packages', async () => {
    const tsc = join(root, 'node_modules', '.bin', 'tsc');
    for (const name of PACKAGES) await capture([tsc, '-p', join(name, 'tsconfig.build.json')], { cwd: root });
    return PACKAGES.join(', ');
  });
  await step('Sizes', async () => {
    // It finds its plugins in the package where it is started.
    const argv = [await tool('size-limit'), '--json'];
    const sizes = JSON.parse(await capture(argv, { cwd: join(root, 'tools') }));
    return sizes.map(({ name, size }) => `${name} ${(size / 1000).toFixed(1)} kB`).join(', ');
  });
  return 0;
});
