/** Glob patterns of COPY sources and of `${NAME#pattern}`: `*`, `?`, `[a-z]`, `[^a]` and a backslash before any of them (Go's `filepath.Match`). */

interface Token {
  readonly star: boolean;
  matches(c: string): boolean;
}

/** Whether `pattern` matches the whole of `text`. Takes time in the order of both lengths multiplied, whatever the pattern. */
export function globMatches(pattern: string, text: string): boolean {
  const tokens = tokenize(pattern);
  let t = 0;
  let p = 0;
  let starAt = -1;
  let resume = 0;
  while (t < text.length) {
    const token = tokens[p];
    if (token?.star) {
      starAt = p++;
      resume = t;
    } else if (token?.matches(text.charAt(t))) {
      p++;
      t++;
    } else if (starAt >= 0) {
      p = starAt + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (tokens[p]?.star) p++;
  return p === tokens.length;
}

/** Whether a path segment needs matching at all. */
export const isGlob = (segment: string): boolean => /[*?[\\]/.test(segment);

/** Whether a pattern can mean more than one path. */
export const isWildcard = (pattern: string): boolean => /(?:^|[^\\])(?:\\\\)*[*?[]/.test(pattern);

function tokenize(pattern: string): Token[] {
  const tokens: Token[] = [];
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern.charAt(i);
    if (c === '*') tokens.push({ star: true, matches: () => true });
    else if (c === '?') tokens.push({ star: false, matches: () => true });
    else if (c === '[' && pattern.indexOf(']', i + 2) > 0) {
      const end = pattern.indexOf(']', i + 2);
      tokens.push({ star: false, matches: characterClass(pattern.slice(i + 1, end)) });
      i = end;
    } else {
      const literal = c === '\\' && i + 1 < pattern.length ? pattern.charAt(++i) : c;
      tokens.push({ star: false, matches: (other) => other === literal });
    }
  }
  return tokens;
}

function characterClass(body: string): (c: string) => boolean {
  const negated = body.startsWith('^') || body.startsWith('!');
  const ranges: [string, string][] = [];
  for (let i = negated ? 1 : 0; i < body.length; i++) {
    const low = body.charAt(i);
    if (body.charAt(i + 1) === '-' && i + 2 < body.length) {
      ranges.push([low, body.charAt(i + 2)]);
      i += 2;
    } else {
      ranges.push([low, low]);
    }
  }
  return (c) => ranges.some(([low, high]) => low <= c && c <= high) !== negated;
}
