/** Words of COPY and ADD, once their variables have values. */

/** Tells what is wrong and does not return. */
export type Fail = (problem: string) => never;

const GIT = /^(git@|git:\/\/|ssh:\/\/)|^https?:\/\/[^?#]*\.git(#.*)?$/i;

export const isUrl = (word: string): boolean => /^https?:\/\//i.test(word);

/** What ADD cannot take from anywhere, which shows before the variables in a word have values. */
export function checkAddress(word: string, fail: Fail): void {
  if (GIT.test(word)) fail('ADD of a Git repository is not supported: clone it in a RUN step (git clone)');
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(word)?.[1];
  if (scheme !== undefined && !isUrl(word)) fail(`ADD takes http and https, not ${scheme.slice(0, 40)}`);
}

/** What ADD can take: files, or else URLs. */
export function checkAdded(words: readonly string[], checksum: string | undefined, fail: Fail): void {
  for (const word of words) checkAddress(word, fail);
  const urls = words.filter(isUrl);
  if (urls.length > 0 && urls.length < words.length)
    fail('ADD takes URLs or files, not both: write two of them');
  if (checksum !== undefined && urls.length !== 1) fail('`--checksum` is for ADD of one URL');
}

export function checkChecksum(text: string, fail: Fail): void {
  if (!/^sha256:[0-9a-f]{64}$/.test(text))
    fail('`--checksum` is `sha256:` and 64 hexadecimal digits in lower case');
}

/** Octal digits, or changes such as `u=rwX,go=rX`, `+x` and `g=u`. */
export function checkMode(text: string, fail: Fail): void {
  if (
    !/^[0-7]{3,5}$/.test(text) &&
    !/^[ugoa]*[-+=]([rwxXst]*|[ugo])(,[ugoa]*[-+=]([rwxXst]*|[ugo]))*$/.test(text)
  )
    fail(`--chmod takes a mode such as 755 or u=rwX,go=rX, not \`${text.slice(0, 40)}\``);
}

/** The mode that a file or directory has after the change, which `checkMode` let through. */
export function changeMode(text: string, mode: number, isDirectory: boolean): number {
  if (/^[0-7]+$/.test(text)) return Number.parseInt(text, 8) & 0o7777;
  let now = mode & 0o7777;
  for (const clause of text.split(',')) {
    const [, who = '', operator = '=', what = ''] = /^([ugoa]*)([-+=])(.*)$/.exec(clause) ?? [];
    const all = who === '' || who.includes('a');
    // `g=u`: as another of the three may.
    const copied = { u: now >> 6, g: now >> 3, o: now }[what];
    let bits = 0;
    let reach = 0;
    for (const [letter, shift] of [
      ['u', 6],
      ['g', 3],
      ['o', 0],
    ] as const) {
      if (!all && !who.includes(letter)) continue;
      const executes = what.includes('x') || (what.includes('X') && (isDirectory || (now & 0o111) !== 0));
      const named = (what.includes('r') ? 4 : 0) | (what.includes('w') ? 2 : 0) | (executes ? 1 : 0);
      bits |= (copied === undefined ? named : copied & 7) << shift;
      reach |= 7 << shift;
      const special = letter === 'u' ? 0o4000 : letter === 'g' ? 0o2000 : 0;
      reach |= special;
      if (what.includes('s')) bits |= special;
    }
    if (what.includes('t')) bits |= 0o1000;
    now = operator === '+' ? now | bits : operator === '-' ? now & ~bits : (now & ~reach) | bits;
  }
  return now;
}
