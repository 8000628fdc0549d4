import { existsSync } from 'node:fs';
import { Command } from 'commander';
import { addDataDirOptions } from '../data-dir.ts';
import { destroyAll, stopServer } from '../server-process.ts';
import { findRunningServer, removeServerState } from '../server-state.ts';
import { isActive, isInstalled, systemctl, unitOf } from '../systemd.ts';
import { oneObject, tell } from '../tell.ts';
import { flagsOfServer } from './server-options.ts';

/** `skerry down`: stops the server and, unless told to keep them, ends its sandboxes and takes everything off the machine. */
export function downCommand(): Command {
  const command = new Command('down')
    .description(
      'stop the server, end all its sandboxes and remove everything of it from the machine but its data',
    )
    .option('--keep', 'leave sandboxes running: the next `up` takes them over')
    .option(...oneObject);
  return addDataDirOptions(command).action(async (options: { keep?: boolean; json?: boolean }) => {
    const { flags, dataDir } = flagsOfServer(command);
    const words: string[] = [];
    const said = (stopped: boolean, sandboxesEnded: boolean) =>
      tell({ dataDir, stopped, sandboxesEnded }, words.join('\n'), options);
    if (!existsSync(dataDir)) {
      words.push(`Nothing to do: there is no data directory ${dataDir}.`);
      return said(false, false);
    }
    const running = findRunningServer(dataDir);
    const active = await isActive(dataDir);
    const stopped = active || running !== undefined;
    if (active) {
      await systemctl('stop', unitOf(dataDir)); // a server that is only killed would be started again
      words.push(`Stopped the service ${unitOf(dataDir)}.`);
    } else if (running) {
      await stopServer(dataDir, running);
      words.push(`Stopped the server at ${running.url}.`);
    } else {
      words.push('The server was not running.');
    }
    if (isInstalled(dataDir)) words.push('It starts again at the next boot, unless: skerry uninstall');
    if (options.keep) {
      words.push('Its sandboxes go on.');
      return said(stopped, false);
    }
    await destroyAll(flags);
    removeServerState(dataDir);
    words.push(`Ended its sandboxes. Images and records stay in ${dataDir}.`);
    said(stopped, true);
  });
}
