import { Command, Option } from 'commander';
import {
  clientEnvironment,
  type EnvironmentFormat,
  environmentFormats,
  formatEnvironment,
} from '../../../connect/src/environment.ts';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { readToken, requireRunningServer } from '../server-state.ts';

/** `skerry env`: what a shell of this machine needs to talk to the server. */
export function envCommand(): Command {
  const command = new Command('env')
    .description('print what clients need to reach the server; use as: eval "$(skerry env)"')
    .addOption(new Option('--format <format>', 'how to print it').choices(environmentFormats).default('sh'))
    .option('--json', 'the same as --format json');
  return addDataDirOptions(command).action(
    ({ format, json }: { format: EnvironmentFormat; json?: boolean }) => {
      const dataDir = dataDirOf(command);
      const { url, clientUrl = url } = requireRunningServer(dataDir);
      const variables = clientEnvironment(clientUrl, readToken(dataDir), process.env);
      process.stdout.write(formatEnvironment(variables, json ? 'json' : format));
    },
  );
}
