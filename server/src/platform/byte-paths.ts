/**
 * Paths as byte strings (each character one byte, `latin1`): names in an image or a volume need not be UTF-8, and none is changed on its way through.
 */

export const toBytes = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
/** For people: what is not UTF-8 is replaced. */
export const fromBytes = (path: string): string => Buffer.from(path, 'latin1').toString('utf8');
/** What the `fs` functions take for a byte string. */
export const raw = (path: string): Buffer => Buffer.from(path, 'latin1');
