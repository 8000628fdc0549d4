import { Command } from 'commander';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { restartServer } from '../server-process.ts';
import { requireRunningServer } from '../server-state.ts';

/** `skerry restart`: a graceful restart with the same settings. Sandboxes go on and clients that call meanwhile wait. */
export function restartCommand(): Command {
  const command = new Command('restart').description(
    'restart the server with the settings it has; sandboxes go on and clients wait',
  );
  return addDataDirOptions(command).action(async () => {
    const dataDir = dataDirOf(command);
    const state = await restartServer(dataDir, requireRunningServer(dataDir));
    process.stdout.write(`Skerry ${state.version} is running again at ${state.url}.\n`);
  });
}
