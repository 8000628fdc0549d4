/** Shell commands out of templates, whose values are words of their own whatever is in them. */

/** A value of a template: a list is several words. */
export type Word = string | number | bigint | boolean | readonly Word[];

/** The text of a command for a POSIX shell. @throws TypeError for a NUL, which no argument can hold */
export function shellCommand(strings: TemplateStringsArray, values: readonly Word[]): string {
  return strings.raw
    .map((text, index) => text + (index in values ? quote(values[index] as Word) : ''))
    .join('');
}

/** One word, or the words of a list, quoted for a POSIX shell. */
export function quote(value: Word): string {
  if (typeof value === 'object') return value.map(quote).join(' ');
  const text = String(value);
  if (text.includes('\0')) throw new TypeError('An argument cannot hold a NUL character.');
  // Within single quotes a shell reads everything as it is, but the quote itself.
  return /^[\w@%+:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
