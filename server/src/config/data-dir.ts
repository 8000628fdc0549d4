/**
 * Where a server's data is: the one setting by which a command finds the server of this machine. It is told without all the others, since to load their schema takes longer than such a command
 * runs (docs/decisions/0051).
 */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';
import { type Environment, readConfigFile } from './config-file.ts';

export const DATA_DIR_FLAG = '--data-dir';
export const DATA_DIR_DESCRIPTION = 'where images, sandboxes and the database live';

export const stateHome = (): string => process.env.XDG_STATE_HOME || join(homedir(), '.local', 'state');
export const defaultDataDir = (): string => join(stateHome(), 'skerry');

/** A directory as a reader would write it, the same in every environment. */
export const belowHome = (path: string): string => path.replace(stateHome(), '~/.local/state');

export interface DataDirFlags {
  readonly dataDir?: string | undefined;
  /** A configuration file. */
  readonly config?: string | undefined;
}

/** What `loadConfig` says of it; of the other settings nothing is looked at. @throws SkerryError `invalid-argument` */
export function dataDirOf(flags: DataDirFlags, env: Environment): string {
  const file = readConfigFile(env, flags.config);
  const kept = file?.content.dataDir ?? defaultDataDir();
  if (typeof kept !== 'string') {
    const text = `file ${file?.path}: ${JSON.stringify(kept)} is not a valid dataDir (${DATA_DIR_DESCRIPTION}).`;
    throw new SkerryError('invalid-argument', text);
  }
  return flags.dataDir ?? (env.SKERRY_DATA_DIR || kept);
}
