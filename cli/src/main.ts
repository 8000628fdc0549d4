/** The `skerry` command. Results go to standard output, everything else to standard error. */

import { Command, CommanderError } from 'commander';
import { outliveReaders } from '../../connect/src/closed-output.ts';
import { SkerryError } from '../../server/src/operator.ts';
import packageJson from '../package.json' with { type: 'json' };
import { CliError, ExitStatus } from './cli-error.ts';
import { backupCommand, restoreCommand } from './commands/backup.ts';
import { caCommand } from './commands/ca.ts';
import { checkpointCommand } from './commands/checkpoint.ts';
import { connectCommand } from './commands/connect.ts';
import { diskCommand } from './commands/disk.ts';
import { doctorCommand } from './commands/doctor.ts';
import { downCommand } from './commands/down.ts';
import { envCommand } from './commands/env.ts';
import { forkCommand } from './commands/fork.ts';
import { imageCommand } from './commands/image.ts';
import { installCommand, uninstallCommand } from './commands/install.ts';
import { lsCommand } from './commands/ls.ts';
import { pruneCommand } from './commands/prune.ts';
import { restartCommand } from './commands/restart.ts';
import { rollbackCommand } from './commands/rollback.ts';
import { sandboxCommands } from './commands/sandboxes.ts';
import { statusCommand } from './commands/status.ts';
import { suspendCommand } from './commands/suspend.ts';
import { tokenCommand } from './commands/token.ts';
import { upCommand } from './commands/up.ts';
import { warmCommand } from './commands/warm.ts';

/** The command line as a whole. It throws instead of ending the process. */
export function createProgram(): Command {
  const program = new Command('skerry')
    .description('Self-hosted sandboxes for untrusted code, for the official Modal clients.')
    .version(packageJson.version)
    .enablePositionalOptions()
    .showHelpAfterError('(--help shows what there is)')
    .addHelpText(
      'after',
      '\nExit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 the server is not running.',
    );
  for (const make of [
    upCommand,
    downCommand,
    restartCommand,
    statusCommand,
    ...sandboxCommands,
    lsCommand,
    forkCommand,
    checkpointCommand,
    rollbackCommand,
    suspendCommand,
    envCommand,
    imageCommand,
    diskCommand,
    pruneCommand,
    backupCommand,
    restoreCommand,
    warmCommand,
    tokenCommand,
    caCommand,
    connectCommand,
    doctorCommand,
    installCommand,
    uninstallCommand,
  ]) {
    program.addCommand(make());
  }
  const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];
  for (const command of all(program)) command.exitOverride();
  return program;
}

/** Runs the command line and returns the exit status. */
export async function main(argv: readonly string[]): Promise<number> {
  outliveReaders();
  try {
    await createProgram().parseAsync([...argv], { from: 'user' });
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
