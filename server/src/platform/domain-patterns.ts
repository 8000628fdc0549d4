/** Patterns of domains, as policies name them. */

const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
/** Of two labels at least, the last of which is no number: else it would be an address. */
const PATTERN = new RegExp(`^(?:\\*\\.)?(?:${LABEL}\\.)+(?!\\d+$)${LABEL}$`);
const MAX_NAME = 253;

/**
 * A pattern in lower case: a name, a name with `*.` before it (which stands for the name and all below it), or `*` for every name. Names of other scripts
 * come as the DNS has them (`xn--…`).
 * @returns undefined for what is none
 */
export function domainPattern(text: string): string | undefined {
  if (text === '*') return text;
  const pattern = text.toLowerCase();
  const name = pattern.replace(/^\*\./, '');
  return name.length <= MAX_NAME && PATTERN.test(pattern) ? pattern : undefined;
}
