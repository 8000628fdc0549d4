/** How a command finds the server of this machine: by its data directory. */
import { type Command, Option } from 'commander';
import {
  belowHome,
  DATA_DIR_DESCRIPTION,
  DATA_DIR_FLAG,
  type DataDirFlags,
  dataDirOf as dataDirOfFlags,
  defaultDataDir,
} from '../../server/src/local-caller.ts';

export const CONFIG_OPTION = [
  '--config <file>',
  'configuration file (default: ~/.config/skerry/config.json)',
] as const;

export function addDataDirOptions(command: Command): Command {
  const description = `finds the server of this machine: ${DATA_DIR_DESCRIPTION} (default: ${belowHome(defaultDataDir())})`;
  return command.addOption(new Option(`${DATA_DIR_FLAG} <value>`, description)).option(...CONFIG_OPTION);
}

/** @throws SkerryError `invalid-argument` */
export const dataDirOf = (command: Command): string =>
  dataDirOfFlags(command.opts<DataDirFlags>(), process.env);
