/** Modes of Python's `open`. */
import { invalid } from '../../rpc/fields.ts';

export interface FileMode {
  readonly readable: boolean;
  readonly writable: boolean;
  /** What opening does with the file: it must exist, is emptied or made, must not exist, or is made when missing and written at its end. */
  readonly kind: 'existing' | 'truncate' | 'exclusive' | 'append';
}

const kinds = { r: 'existing', w: 'truncate', x: 'exclusive', a: 'append' } as const;

/** One of `rwxa`, with `+` and `b` or `t` in any order, each at most once. @throws SkerryError `invalid-argument` */
export function parseFileMode(mode: string): FileMode {
  const letters = [...mode];
  const kindsGiven = letters.filter((letter): letter is keyof typeof kinds => letter in kinds);
  const [letter] = kindsGiven;
  const unique = new Set(letters).size === letters.length;
  const known = letters.every((one) => one in kinds || '+bt'.includes(one));
  if (!letter || kindsGiven.length !== 1 || !unique || !known || (mode.includes('b') && mode.includes('t'))) {
    throw invalid(`Invalid file mode: '${mode.slice(0, 16)}'.`);
  }
  const update = mode.includes('+');
  return { readable: letter === 'r' || update, writable: letter !== 'r' || update, kind: kinds[letter] };
}
