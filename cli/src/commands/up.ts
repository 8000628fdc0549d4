import { Command } from 'commander';
import { type Config, isLoopback } from '../../../server/src/operator.ts';
import { CliError } from '../cli-error.ts';
import { checkPortIsFree, runForeground, startDaemon } from '../server-process.ts';
import {
  findRunningServer,
  logFile,
  requireRunningServer,
  type ServerState,
  serverAsJson,
} from '../server-state.ts';
import { hasSystemd, isInstalled, notifyReady, systemctl, unitOf } from '../systemd.ts';
import { oneObject, tell } from '../tell.ts';
import { addServerOptions, configOf, serverFlags } from './server-options.ts';

/** `skerry up`: starts the server unless it runs already. */
export function upCommand(): Command {
  const command = new Command('up')
    .description('start the server')
    .option('--foreground', 'stay attached to the terminal instead of becoming a daemon')
    .option(...oneObject);
  return addServerOptions(command).action(async (options: { foreground?: boolean; json?: boolean }) => {
    const note = (line: string) => {
      if (!options.json) say(line);
    };
    const flags = serverFlags(command);
    const config = configOf(flags);
    const { dataDir, host, port } = config;
    const running = findRunningServer(dataDir);
    if (running) {
      const words = `Already running at ${running.url} (process ${running.pid}).`;
      tell({ ...serverAsJson(running), started: false }, words, options);
      if (flags.length > 0 && flags.join(' ') !== running.flags.join(' ')) {
        note('The settings given now take effect after: skerry down --keep && skerry up …');
      }
      return;
    }
    if (process.getuid?.() !== 0) {
      throw new CliError('Skerry needs root to make namespaces, mounts and cgroups. Run: sudo skerry up');
    }
    if (!options.foreground && hasSystemd() && isInstalled(dataDir)) {
      await systemctl('start', unitOf(dataDir));
      announce(requireRunningServer(dataDir), config, options);
      if (serverFlags(command).some((word) => word !== '--data-dir' && word !== dataDir)) {
        note('It has the settings of its service; to change them: skerry install …');
      }
      return;
    }
    await checkPortIsFree(host, port);
    if (options.foreground) {
      process.exitCode = await runForeground(config, flags, (state) => {
        announce(state, config, options);
        void notifyReady().catch((error: unknown) => process.stderr.write(`skerry: ${error}\n`));
      });
      return;
    }
    announce(await startDaemon(config, flags), config, options);
    note(`Log: ${logFile(dataDir)}`);
  });
}

const say = (line: string) => process.stdout.write(`${line}\n`);

function announce(
  state: ServerState,
  { host, runtime }: Pick<Config, 'host' | 'runtime'>,
  options: { readonly json?: boolean },
): void {
  const does = state.standsBy ? 'stands by' : 'is running';
  const words = `Skerry ${state.version} ${does} at ${state.url} (process ${state.pid}).`;
  tell({ ...serverAsJson(state), started: true }, words, options);
  if (options.json) return;
  say(
    state.standsBy
      ? 'Another server of its database leads, and answers whoever calls this one, which takes over when that one is gone.'
      : describeIsolation(state.isolation, runtime),
  );
  say('Point Modal clients of this shell at it with: eval "$(skerry env)"');
  if (!isLoopback(host)) say('What another machine needs: skerry token create');
}

/** What a user must know of where the code of sandboxes runs; loud when gVisor was wanted and is not there. */
export function describeIsolation(isolation: ServerState['isolation'], wanted: Config['runtime']): string {
  switch (isolation) {
    case 'gvisor':
      return 'Sandboxes run under gVisor: a kernel of its own between them and this machine.';
    case 'runc':
      return wanted === 'runc'
        ? "Sandboxes run under runc, as it was asked for: on this machine's own kernel."
        : "WARNING: gVisor does not work here. Sandboxes run under runc, ON THIS MACHINE'S OWN KERNEL: let them run no code that you do not trust. `skerry doctor` says why.";
    case undefined:
      return 'WARNING: there is no runtime for sandboxes on this machine; none can start. `skerry doctor` says what is missing.';
    default:
      return isolation satisfies never;
  }
}
