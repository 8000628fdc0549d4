/** The `skerry` command. Results go to standard output, everything else to standard error. */

import { Command, CommanderError } from 'commander';
import { outliveReaders } from '../../connect/src/closed-output.ts';
import { SkerryError } from '../../server/src/local-caller.ts';
import packageJson from '../package.json' with { type: 'json' };
import { CliError, ExitStatus } from './cli-error.ts';
import { examples } from './examples.ts';

/** What makes each command. Only the one that is called is loaded: the whole takes longer than most of them run. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  up: async () => (await import('./commands/up.ts')).upCommand(),
  down: async () => (await import('./commands/down.ts')).downCommand(),
  restart: async () => (await import('./commands/restart.ts')).restartCommand(),
  status: async () => (await import('./commands/status.ts')).statusCommand(),
  run: async () => (await import('./commands/run.ts')).runCommand(),
  exec: async () => (await import('./commands/exec.ts')).execCommand(),
  shell: async () => (await import('./commands/shell.ts')).shellCommand(),
  logs: async () => (await import('./commands/logs.ts')).logsCommand(),
  events: async () => (await import('./commands/events.ts')).eventsCommand(),
  stats: async () => (await import('./commands/stats.ts')).statsCommand(),
  top: async () => (await import('./commands/top.ts')).topCommand(),
  cp: async () => (await import('./commands/cp.ts')).cpCommand(),
  stop: async () => (await import('./commands/stop.ts')).stopCommand(),
  rm: async () => (await import('./commands/stop.ts')).rmCommand(),
  mcp: async () => (await import('./commands/mcp.ts')).mcpCommand(),
  ls: async () => (await import('./commands/ls.ts')).lsCommand(),
  volume: async () => (await import('./commands/volume.ts')).volumeCommand(),
  secret: async () => (await import('./commands/secret.ts')).secretCommand(),
  app: async () => (await import('./commands/app.ts')).appCommand(),
  fork: async () => (await import('./commands/fork.ts')).forkCommand(),
  snapshot: async () => (await import('./commands/snapshot.ts')).snapshotCommand(),
  checkpoint: async () => (await import('./commands/checkpoint.ts')).checkpointCommand(),
  rollback: async () => (await import('./commands/rollback.ts')).rollbackCommand(),
  suspend: async () => (await import('./commands/suspend.ts')).suspendCommand(),
  env: async () => (await import('./commands/env.ts')).envCommand(),
  image: async () => (await import('./commands/image.ts')).imageCommand(),
  disk: async () => (await import('./commands/disk.ts')).diskCommand(),
  prune: async () => (await import('./commands/prune.ts')).pruneCommand(),
  backup: async () => (await import('./commands/backup.ts')).backupCommand(),
  restore: async () => (await import('./commands/backup.ts')).restoreCommand(),
  warm: async () => (await import('./commands/warm.ts')).warmCommand(),
  environment: async () => (await import('./commands/environment.ts')).environmentCommand(),
  token: async () => (await import('./commands/token.ts')).tokenCommand(),
  ca: async () => (await import('./commands/ca.ts')).caCommand(),
  connect: async () => (await import('./commands/connect.ts')).connectCommand(),
  completion: async () => (await import('./commands/completion.ts')).completionCommand(),
  doctor: async () => (await import('./commands/doctor.ts')).doctorCommand(),
  install: async () => (await import('./commands/install.ts')).installCommand(),
  uninstall: async () => (await import('./commands/install.ts')).uninstallCommand(),
};

/**
 * The command line. It throws instead of ending the process.
 * @param word where it is the name of a command, the others are left out; by default all are there
 */
export async function createProgram(word?: string): Promise<Command> {
  const program = new Command('skerry')
    .description('Self-hosted sandboxes for untrusted code, for the official Modal clients.')
    .version(packageJson.version)
    .enablePositionalOptions()
    .showHelpAfterError('(--help shows what there is)')
    .addHelpText(
      'after',
      '\nExit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 the server is not running.',
    );
  const one = word !== undefined && Object.hasOwn(commands, word) ? commands[word] : undefined;
  for (const make of one ? [one] : Object.values(commands)) program.addCommand(await make());
  const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];
  for (const command of all(program)) {
    command.exitOverride();
    const lines = examples[pathOf(command)];
    if (lines) command.addHelpText('after', `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`);
  }
  return program;
}

/** The words that call it, without `skerry`. */
const pathOf = (command: Command): string =>
  command.parent ? `${pathOf(command.parent)} ${command.name()}`.trim() : '';

/** Runs the command line and returns the exit status. */
export async function main(argv: readonly string[]): Promise<number> {
  outliveReaders();
  try {
    const program = await createProgram(argv[0]);
    await program.parseAsync([...argv], { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    // Commander has printed its own words; asking for help or the version is no failure.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : ExitStatus.usage;
    if (error instanceof CliError) return fail(error.message, error.exitStatus);
    if (error instanceof SkerryError) {
      return fail(error.message, error.code === 'invalid-argument' ? ExitStatus.usage : ExitStatus.failed);
    }
    return fail(error instanceof Error ? (error.stack ?? error.message) : String(error), ExitStatus.failed);
  }
}

function fail(message: string, status: number): number {
  process.stderr.write(`skerry: ${message}\n`);
  return status;
}
