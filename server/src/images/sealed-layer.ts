/** Layers that open only with a key of the caller's, which is nowhere but in the call: a file of `platform/sealed-tree.ts` in the place of what they hold. */
import { createHash, scrypt } from 'node:crypto';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type KeyOf, openTree, sealTree } from '../platform/sealed-tree.ts';

const KEY_BYTES = 32;

const stretch = promisify<Uint8Array, Uint8Array, number, Buffer>(scrypt); // RFC 7914
/** scrypt takes keys that differ by zeros at the end for the same one; hashes of them do not. */
const keyOf =
  (secret: Uint8Array): KeyOf =>
  (salt) =>
    stretch(createHash('sha256').update(secret).digest(), salt, KEY_BYTES);

/** Replaces what is in a directory by one file that opens only with the key. @throws SkerryError `disk-full`; the signal's reason */
export async function sealDirectory(directory: string, key: Uint8Array, signal: AbortSignal): Promise<void> {
  const file = `${directory}.sealed`;
  await sealTree(directory, file, keyOf(key), signal);
  await rm(directory, { recursive: true });
  await mkdir(directory, { mode: 0o700 });
  await rename(file, join(directory, 'sealed'));
}

/** Puts what `sealDirectory` took into another directory, which must be empty. @throws SkerryError `invalid-argument` for another key; the signal's reason */
export function openDirectory(
  sealedIn: string,
  key: Uint8Array,
  directory: string,
  signal: AbortSignal,
): Promise<void> {
  return openTree(join(sealedIn, 'sealed'), keyOf(key), directory, signal);
}
