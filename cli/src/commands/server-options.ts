/** The server's settings as options of a command. */

import { type Command, Option } from 'commander';
import { type Config, describeSettings, loadConfig } from '../../../server/src/operator.ts';
import { CONFIG_OPTION } from '../data-dir.ts';
import { readServerState } from '../server-state.ts';

/** Adds one option per setting. */
export function addServerOptions(command: Command): Command {
  for (const setting of describeSettings()) {
    const value = setting.choices?.join('|') ?? (setting.isList ? 'a,b,…' : 'value');
    const shown = setting.defaultText === '' ? '' : ` (default: ${setting.defaultText})`;
    command.addOption(new Option(`${setting.flag} <${value}>`, `${setting.description}${shown}`));
  }
  return command.option(...CONFIG_OPTION);
}

/** The given options as the server's own flags. */
export function serverFlags(command: Command): string[] {
  const flags = [...describeSettings().map(({ flag }) => flag), '--config'];
  return command.options.flatMap((option) => {
    const value: unknown = command.getOptionValue(option.attributeName());
    return option.long && flags.includes(option.long) && typeof value === 'string'
      ? [option.long, value]
      : [];
  });
}

export const configOf = (flags: readonly string[]): Config => loadConfig({ argv: flags, env: process.env });

/**
 * The flags to reach an existing server's data: those given, or else those that the server was started with (a subnet or a runsc
 * path given at the start is not known otherwise).
 */
export function flagsOfServer(command: Command): { readonly flags: string[]; readonly dataDir: string } {
  const given = serverFlags(command);
  const { dataDir } = configOf(given);
  return { flags: [...(readServerState(dataDir)?.flags ?? []), ...given], dataDir };
}
