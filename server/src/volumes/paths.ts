/** Paths inside a volume, as clients write them. */
import { SkerryError } from '../errors/skerry-error.ts';
import { fromBytes, toBytes } from '../platform/byte-paths.ts';
import { MAX_NAME_BYTES, MAX_PATH_BYTES } from '../platform/path-limits.ts';
import { clip } from '../platform/text.ts';

/** Names from the root down, as byte strings (`platform/byte-paths.ts`); none for the root itself. */
export type VolumePath = readonly string[];

/**
 * With or without slashes before, after and between. Nothing leads up: what a client means by `..` it can say without.
 * @throws SkerryError `invalid-argument`
 */
export function parseVolumePath(text: string): VolumePath {
  const bad = (why: string) => new SkerryError('invalid-argument', `Invalid path '${clip(text)}': ${why}.`);
  if (text.includes('\0')) throw bad('it contains a NUL byte');
  const bytes = toBytes(text);
  if (bytes.length > MAX_PATH_BYTES) throw bad(`it is longer than ${MAX_PATH_BYTES} bytes`);
  const names = bytes.split('/').filter((name) => name !== '' && name !== '.');
  if (names.includes('..')) throw bad("it must not contain '..'");
  if (names.some((name) => name.length > MAX_NAME_BYTES))
    throw bad(`a name in it is longer than ${MAX_NAME_BYTES} bytes`);
  return names;
}

/** As people and clients read it: without a leading slash, what is not UTF-8 replaced. */
export const showVolumePath = (path: VolumePath): string => fromBytes(path.join('/'));
