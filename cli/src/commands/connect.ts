import { Command } from 'commander';
import { connectMain } from '../../../connect/src/main.ts';

/** `skerry connect`, as the package `skerry-connect` has it: that one reads its own words. */
export function connectCommand(): Command {
  return new Command('connect')
    .description('reach a server on another machine through a port of this one')
    .usage('[options] https://SERVER:7423 [-- COMMAND...]')
    .argument('[words...]')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (_words: readonly string[], _options: unknown, command: Command) => {
      process.exitCode = await connectMain(command.args);
    });
}
