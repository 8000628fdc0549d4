import { Argument, Command } from 'commander';
import { completionScript, type Shell, shells } from '../completion.ts';

/** `skerry completion`: the script by which a shell completes commands and options. */
export function completionCommand(): Command {
  return new Command('completion')
    .description('print the script by which a shell completes commands and options')
    .addArgument(new Argument('<shell>', 'which one').choices(shells))
    .action(async (shell: Shell) => {
      const { createProgram } = await import('../main.ts');
      process.stdout.write(completionScript(shell, await createProgram()));
    });
}
