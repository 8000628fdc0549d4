/** The configuration file, as it stands: what its settings are is for others to say. */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface ConfigFile {
  readonly path: string;
  readonly content: Readonly<Record<string, unknown>>;
}

const invalid = (message: string) => new SkerryError('invalid-argument', message);

/** Where it is when nobody says otherwise. */
function defaultConfigFile(env: Environment): string {
  return join(env.XDG_CONFIG_HOME || join(env.HOME || homedir(), '.config'), 'skerry', 'config.json');
}

/**
 * @param explicit where somebody says that it is; it must exist
 * @returns undefined when there is none
 * @throws SkerryError `invalid-argument`
 */
export function readConfigFile(env: Environment, explicit: string | undefined): ConfigFile | undefined {
  const path = explicit ?? defaultConfigFile(env);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    // The cast narrows what fs throws; anything without a code is rethrown as unreadable.
    if (explicit === undefined && (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw invalid(
      `Configuration file ${path} cannot be read: ${error instanceof Error ? error.message : error}`,
    );
  }
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw invalid(
      `Configuration file ${path} is not valid JSON: ${error instanceof Error ? error.message : error}`,
    );
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw invalid(`Configuration file ${path} must hold one JSON object.`);
  }
  return { path, content: { ...content } };
}
