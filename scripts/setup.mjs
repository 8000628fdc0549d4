/**
 * Installs and builds what Skerry needs, as far as it is missing: `npm run setup`. Fast when there is nothing to do.
 * The other scripts call `setup()` first.
 */
import { pathToFileURL } from 'node:url';
import { ensureCommand } from './lib/command-bundle.mjs';
import { ensureDashboard } from './lib/dashboard.mjs';
import { ensureGvisor } from './lib/gvisor.mjs';
import { ensureServer } from './lib/server-bundle.mjs';
import { runMain, SetupError, step } from './lib/step.mjs';
import { ensurePackages, systemPackages } from './lib/system-packages.mjs';
import {
  ensureAgent,
  ensureNodeModules,
  ensurePythonClient,
  pythonWithModal,
  quickInstaller,
} from './lib/toolchains.mjs';

/** The versions of the official clients that are tested; the first is the one that the quickstart uses. */
export const pythonClientVersions = ['1.6.4', '1.5.5', '1.3.5', '1.3.0', '1.0.5'];

/** What a machine without gVisor must be told, each time and where it is not overlooked. */
export const withoutGvisor = (why) => `
WARNING: there is no gVisor on this machine. Sandboxes will run under runc, ON THIS MACHINE'S OWN KERNEL:
         do not let them run code that you do not trust.
         Why there is none: ${why}
         When that is mended, \`npm run setup\` tries again.
`;

/**
 * Everything a server needs. Resolves with the reason why there is no gVisor, undefined when there is one.
 * @throws SetupError that says what to do
 */
export async function setup() {
  if (process.platform !== 'linux') {
    throw new SetupError(
      `Skerry's server needs Linux; this is ${process.platform}. The clients run anywhere.`,
    );
  }
  await step('Node packages', ensureNodeModules);
  await step('System packages', (progress) => ensurePackages(systemPackages, progress));
  await step('Agent', ensureAgent);
  await step('Dashboard', ensureDashboard);
  await step('Command', ensureCommand);
  await step('Server', ensureServer);
  const { note, missing } = await step('gVisor', ensureGvisor);
  if (!missing) return undefined;
  process.stderr.write(withoutGvisor(note));
  return note;
}

/** Virtual environments with the official Python client, one for each version. */
export async function setupPythonClients([first, ...others]) {
  await step(`Official Python client ${first}`, (progress) => ensurePythonClient(first, progress));
  if (others.length === 0) return;
  await step(`Official Python clients ${others.join(', ')}`, async (progress) => {
    const install = await quickInstaller(pythonWithModal(first), progress);
    const notes = await Promise.all(others.map((each) => ensurePythonClient(each, progress, install)));
    return [...new Set(notes)].join(', ');
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runMain(async () => {
    await setup();
  });
}
