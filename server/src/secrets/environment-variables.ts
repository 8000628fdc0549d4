/** What the environment variables may be that callers hand over, in secrets and inline: one set of bounds for every way in. */

import { SkerryError } from '../errors/skerry-error.ts';
import { clip } from '../platform/text.ts';

/** What a program can be counted on to read: POSIX, "Environment Variables". */
export const variableNamePattern = /^[A-Za-z_][A-Za-z0-9_]{0,255}$/;
export const VARIABLE_NAME_RULE =
  'a variable has a name of letters, digits and underscores, not starting with a digit, at most 256';
export const MAX_VARIABLES = 256;
/** Bytes of UTF-8. */
export const MAX_VARIABLE_BYTES = 32 * 1024;
/** Bytes of all names and values of one environment together. */
export const MAX_ENVIRONMENT_BYTES = 512 * 1024;

/**
 * @param what the environment by its field or as a noun: every message begins with it
 * @throws SkerryError `invalid-argument` (name or value that cannot be an environment variable), `too-large`; never with a value in the text
 */
export function checkEnvironmentVariables(env: Readonly<Record<string, string>>, what: string): void {
  const entries = Object.entries(env);
  if (entries.length > MAX_VARIABLES) {
    throw tooLarge(`${what} may have at most ${MAX_VARIABLES} variables, this one has ${entries.length}.`);
  }
  for (const [key, value] of entries) {
    if (!variableNamePattern.test(key)) {
      throw new SkerryError(
        'invalid-argument',
        `${what}: '${clip(key)}' is no name of an environment variable: ${VARIABLE_NAME_RULE}.`,
      );
    }
    if (value.includes('\0')) {
      throw new SkerryError('invalid-argument', `${what}: the value of '${key}' contains a NUL byte.`);
    }
    const bytes = Buffer.byteLength(value);
    if (bytes > MAX_VARIABLE_BYTES) {
      throw tooLarge(`${what}: the value of '${key}' has ${bytes} bytes, more than ${MAX_VARIABLE_BYTES}.`);
    }
  }
  const total = environmentBytes(env);
  if (total > MAX_ENVIRONMENT_BYTES) {
    throw tooLarge(`${what} has ${total} bytes in all, more than ${MAX_ENVIRONMENT_BYTES}.`);
  }
}

/** What counts for `MAX_ENVIRONMENT_BYTES`. */
export const environmentBytes = (env: Readonly<Record<string, string>>): number =>
  Object.entries(env).reduce((sum, [key, value]) => sum + key.length + Buffer.byteLength(value), 0);

const tooLarge = (message: string): SkerryError => new SkerryError('too-large', message);
