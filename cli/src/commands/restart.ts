import { Command } from 'commander';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { restartServer } from '../server-process.ts';
import { requireRunningServer, serverAsJson } from '../server-state.ts';
import { oneObject, tell } from '../tell.ts';

/** `skerry restart`: a graceful restart with the same settings. Sandboxes go on and clients that call meanwhile wait. */
export function restartCommand(): Command {
  const command = new Command('restart')
    .description('restart the server with the settings it has; sandboxes go on and clients wait')
    .option(...oneObject);
  return addDataDirOptions(command).action(async (options: { json?: boolean }) => {
    const dataDir = dataDirOf(command);
    const state = await restartServer(dataDir, requireRunningServer(dataDir));
    tell(serverAsJson(state), `Skerry ${state.version} is running again at ${state.url}.`, options);
  });
}
