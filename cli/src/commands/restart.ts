import { Command } from 'commander';
import { restartServer } from '../server-process.ts';
import { requireRunningServer } from '../server-state.ts';
import { addServerOptions, configOf, serverFlags } from './server-options.ts';

/** `skerry restart`: a graceful restart with the same settings. Sandboxes go on and clients that call meanwhile wait. */
export function restartCommand(): Command {
  const command = new Command('restart').description(
    'restart the server with the settings it has; sandboxes go on and clients wait',
  );
  return addServerOptions(command, ['dataDir']).action(async () => {
    const { dataDir } = configOf(serverFlags(command));
    const state = await restartServer(dataDir, requireRunningServer(dataDir));
    process.stdout.write(`Skerry ${state.version} is running again at ${state.url}.\n`);
  });
}
