/** Where in an instance something may be mounted; the place may come from a client. */
import { isAbsolute, normalize } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';

const MAX_TARGET_LENGTH = 1024;
/** Covering these would hide the kernel's interfaces or the agent. */
const reserved = ['/proc', '/sys', '/dev', '/__modal'];

/** @throws SkerryError `invalid-argument` saying why not there */
export function checkMountTarget(target: string): void {
  const plain = target.replace(/\/+$/, '');
  const clean =
    isAbsolute(target) &&
    target.length <= MAX_TARGET_LENGTH &&
    !target.includes('\0') &&
    normalize(plain || '/') === plain;
  if (!clean) {
    throw new SkerryError(
      'invalid-argument',
      `Cannot mount at ${JSON.stringify(target.slice(0, 200))}: name an absolute directory other than the root.`,
    );
  }
  if (reserved.some((path) => plain === path || plain.startsWith(`${path}/`))) {
    throw new SkerryError(
      'invalid-argument',
      `Cannot mount at ${target}: ${reserved.join(', ')} are reserved.`,
    );
  }
}
