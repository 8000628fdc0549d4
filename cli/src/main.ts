/** The `skerry` command of a clone: what calls a server, and what starts and looks after one. */

import type { Command } from 'commander';
import { callingCommands } from './calling.ts';
import { type CommandMakers, programOf, runProgram } from './program.ts';

/** All of them, by their words. */
export const commands: CommandMakers = {
  ...callingCommands,
  up: async () => (await import('./commands/up.ts')).upCommand(),
  down: async () => (await import('./commands/down.ts')).downCommand(),
  restart: async () => (await import('./commands/restart.ts')).restartCommand(),
  status: async () => (await import('./commands/status.ts')).statusCommand(),
  mcp: async () => (await import('./commands/mcp.ts')).mcpCommand(),
  backup: async () => (await import('./commands/backup.ts')).backupCommand(),
  'move-records': async () => (await import('./commands/move-records.ts')).moveRecordsCommand(),
  restore: async () => (await import('./commands/backup.ts')).restoreCommand(),
  ca: async () => (await import('./commands/ca.ts')).caCommand(),
  doctor: async () => (await import('./commands/doctor.ts')).doctorCommand(),
  install: async () => (await import('./commands/install.ts')).installCommand(),
  uninstall: async () => (await import('./commands/install.ts')).uninstallCommand(),
  completion: async () => (await import('./commands/completion.ts')).completionCommand(createProgram),
};

/**
 * The command line. It throws instead of ending the process.
 * @param word where it is the name of a command, the others are left out; by default all are there
 */
export function createProgram(word?: string): Promise<Command> {
  return programOf(commands, word);
}

/** Runs the command line and returns the exit status. */
export const main = (argv: readonly string[]): Promise<number> => runProgram(commands, argv);
