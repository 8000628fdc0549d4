import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { Command } from 'commander';
import { CliError } from '../cli-error.ts';
import { addDataDirOptions } from '../data-dir.ts';
import { checkPortIsFree, destroyAll, stopServer } from '../server-process.ts';
import { findRunningServer, logFile, removeServerState, serverAsJson } from '../server-state.ts';
import {
  absoluteFlags,
  commandFile,
  environmentFile,
  isActive,
  isInstalled,
  renderEnvironment,
  renderUnit,
  requireSystemd,
  systemctl,
  unitFile,
  unitOf,
  writeIfChanged,
} from '../systemd.ts';
import { oneObject, tell } from '../tell.ts';
import { addServerOptions, configOf, flagsOfServer, serverFlags } from './server-options.ts';

function requireRoot(what: string): void {
  if (process.getuid?.() !== 0) throw new CliError(`A service is root's to make. Run: sudo skerry ${what}`);
}

/** `skerry install`: a systemd service that starts the server now and at every boot. Run again, it takes over new settings. */
export function installCommand(): Command {
  const command = new Command('install')
    .description('make a systemd service of the server: started now, at every boot, and whenever it ends')
    .option(...oneObject);
  return addServerOptions(command).action(async (options: { json?: boolean }) => {
    const flags = absoluteFlags(serverFlags(command));
    const config = configOf(flags);
    const { dataDir } = config;
    requireSystemd();
    requireRoot('install');
    const service = unitOf(dataDir);
    const unit = renderUnit({
      dataDir,
      node: process.execPath,
      command: commandFile(),
      flags: withoutDataDir(flags),
    });
    const environment = renderEnvironment(process.env);

    const active = await isActive(dataDir);
    const running = findRunningServer(dataDir);
    if (!running) await checkPortIsFree(config.host, config.port);
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    const changed = [
      writeIfChanged(environmentFile(dataDir), environment, 0o600),
      writeIfChanged(unitFile(dataDir), unit, 0o644),
    ].includes(true);
    await systemctl('daemon-reload');
    await systemctl('--quiet', 'enable', service);
    if (running && !active) await stopServer(dataDir, running); // its sandboxes go on, and the service takes them over
    if (!active || changed) {
      try {
        await systemctl('restart', service);
      } catch (error) {
        const why = error instanceof Error ? error.message : error;
        throw new CliError(`${why}\nIts log: ${logFile(dataDir)}`);
      }
    }
    const state = findRunningServer(dataDir);
    if (!state)
      throw new CliError(`The service ${service} did not start the server. Its log: ${logFile(dataDir)}`);
    const words = `Skerry ${state.version} is running at ${state.url} as the service ${service}, also after a reboot.`;
    tell({ ...serverAsJson(state), service }, words, options);
  });
}

/** `skerry uninstall`: takes the service away, and by default what `skerry down` takes away. */
export function uninstallCommand(): Command {
  const command = new Command('uninstall')
    .description('remove the service that `install` made; end the server and its sandboxes')
    .option('--keep', 'leave sandboxes running: the next `up` takes them over')
    .option(...oneObject);
  return addDataDirOptions(command).action(async (options: { keep?: boolean; json?: boolean }) => {
    const { flags, dataDir } = flagsOfServer(command);
    if (!isInstalled(dataDir)) {
      const words = `Nothing to do: no service of ${dataDir} is installed.`;
      return tell({ dataDir, removed: false, sandboxesEnded: false }, words, options);
    }
    requireSystemd();
    requireRoot('uninstall');
    await systemctl('--quiet', 'disable', '--now', unitOf(dataDir));
    rmSync(unitFile(dataDir), { force: true });
    rmSync(environmentFile(dataDir), { force: true });
    await systemctl('daemon-reload');
    const ends = !options.keep && existsSync(dataDir);
    if (ends) {
      await destroyAll(flags);
      removeServerState(dataDir);
    }
    const words = `Removed the service ${unitOf(dataDir)}.${ends ? `\nEnded its sandboxes. Images and records stay in ${dataDir}.` : ''}`;
    tell({ dataDir, removed: true, sandboxesEnded: ends }, words, options);
  });
}

function withoutDataDir(flags: readonly string[]): string[] {
  const at = flags.indexOf('--data-dir');
  return at < 0 ? [...flags] : [...flags.slice(0, at), ...flags.slice(at + 2)];
}
