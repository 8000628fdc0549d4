/** Bounds of the environment variables that callers hand over, in secrets and inline. */

import { SkerryError } from '../errors/skerry-error.ts';
import { clip } from '../platform/text.ts';

const keyPattern = /^[A-Za-z_][A-Za-z0-9_]*$/;
const MAX_KEY_LENGTH = 256;
/** Bytes of UTF-8. */
const MAX_VALUE_BYTES = 32 * 1024;
const MAX_KEYS = 256;
/** Bytes of all keys and values together. */
const MAX_TOTAL_BYTES = 512 * 1024;

/** @throws SkerryError `invalid-argument` (key or value that cannot be an environment variable), `too-large`; never with a value in the text */
export function checkEnvironmentVariables(env: Readonly<Record<string, string>>): void {
  const entries = Object.entries(env);
  if (entries.length > MAX_KEYS) {
    throw new SkerryError(
      'too-large',
      `A secret may have at most ${MAX_KEYS} keys, this one has ${entries.length}.`,
    );
  }
  let total = 0;
  for (const [key, value] of entries) {
    if (!keyPattern.test(key) || key.length > MAX_KEY_LENGTH) {
      throw new SkerryError(
        'invalid-argument',
        `Invalid environment variable name '${clip(key)}': use letters, digits and underscores, not starting with a digit, at most ${MAX_KEY_LENGTH}.`,
      );
    }
    if (value.includes('\0')) {
      throw new SkerryError('invalid-argument', `The value of '${key}' contains a NUL byte.`);
    }
    const bytes = Buffer.byteLength(value);
    if (bytes > MAX_VALUE_BYTES) {
      throw new SkerryError(
        'too-large',
        `The value of '${key}' has ${bytes} bytes; at most ${MAX_VALUE_BYTES} are allowed.`,
      );
    }
    total += key.length + bytes;
  }
  if (total > MAX_TOTAL_BYTES) {
    throw new SkerryError(
      'too-large',
      `The secret has ${total} bytes; at most ${MAX_TOTAL_BYTES} are allowed.`,
    );
  }
}
