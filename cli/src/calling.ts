/**
 * The commands that only call a server. They are bundled into one file, which whoever has the clone runs them from (docs/decisions/0051), and which is the package `skerry-cli` of other machines: so
 * nothing that is imported here may lead to `server/src/operator.ts`.
 */
import type { Command } from 'commander';
import { type CommandMakers, programOf, runProgram } from './program.ts';

export const callingCommands: CommandMakers = {
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
  warm: async () => (await import('./commands/warm.ts')).warmCommand(),
  environment: async () => (await import('./commands/environment.ts')).environmentCommand(),
  token: async () => (await import('./commands/token.ts')).tokenCommand(),
  connect: async () => (await import('./commands/connect.ts')).connectCommand(),
};

/** Those of the clone alone, which start and look after a server; `main.ts` has them. */
export const servingWords = [
  'up',
  'down',
  'restart',
  'status',
  'mcp',
  'backup',
  'move-records',
  'restore',
  'ca',
  'doctor',
  'install',
  'uninstall',
];

export const createProgram = (word?: string): Promise<Command> => programOf(callingCommands, word);

/** Runs one of these commands, which are known to be here. @returns the exit status */
export const main = (argv: readonly string[]): Promise<number> => runProgram(callingCommands, argv);

/** Runs the command of a machine that has only the package. @returns the exit status */
export function packageMain(argv: readonly string[]): Promise<number> {
  const commands: CommandMakers = {
    ...callingCommands,
    completion: async () =>
      (await import('./commands/completion.ts')).completionCommand(() => programOf(commands)),
  };
  return runProgram(commands, argv, {
    elsewhere: servingWords,
    where: 'comes with the server: run it in the clone that the server is started from',
  });
}
