import { Argument, Command } from 'commander';
import { completionScript, type Shell, shells } from '../completion.ts';

/** `skerry completion`: the script by which a shell completes commands and options. @param createProgram all that there is to complete */
export function completionCommand(createProgram: () => Promise<Command>): Command {
  return new Command('completion')
    .description('print the script by which a shell completes commands and options')
    .addArgument(new Argument('<shell>', 'which one').choices(shells))
    .action(async (shell: Shell) => {
      process.stdout.write(completionScript(shell, await createProgram()));
    });
}
