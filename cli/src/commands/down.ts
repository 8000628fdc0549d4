import { existsSync } from 'node:fs';
import { Command } from 'commander';
import { addDataDirOptions } from '../data-dir.ts';
import { destroyAll, stopServer } from '../server-process.ts';
import { findRunningServer, removeServerState } from '../server-state.ts';
import { isActive, isInstalled, systemctl, unitOf } from '../systemd.ts';
import { flagsOfServer } from './server-options.ts';

/** `skerry down`: stops the server and, unless told to keep them, ends its sandboxes and takes everything off the machine. */
export function downCommand(): Command {
  const command = new Command('down')
    .description(
      'stop the server, end all its sandboxes and remove everything of it from the machine but its data',
    )
    .option('--keep', 'leave sandboxes running: the next `up` takes them over');
  return addDataDirOptions(command).action(async (options: { keep?: boolean }) => {
    const { flags, dataDir } = flagsOfServer(command);
    const say = (line: string): void => {
      process.stdout.write(`${line}\n`);
    };
    if (!existsSync(dataDir)) {
      say(`Nothing to do: there is no data directory ${dataDir}.`);
      return;
    }
    const running = findRunningServer(dataDir);
    if (await isActive(dataDir)) {
      await systemctl('stop', unitOf(dataDir)); // a server that is only killed would be started again
      say(`Stopped the service ${unitOf(dataDir)}.`);
    } else if (running) {
      await stopServer(dataDir, running);
      say(`Stopped the server at ${running.url}.`);
    } else {
      say('The server was not running.');
    }
    if (isInstalled(dataDir)) say('It starts again at the next boot, unless: skerry uninstall');
    if (options.keep) {
      say('Its sandboxes go on.');
      return;
    }
    await destroyAll(flags);
    removeServerState(dataDir);
    say(`Ended its sandboxes. Images and records stay in ${dataDir}.`);
  });
}
