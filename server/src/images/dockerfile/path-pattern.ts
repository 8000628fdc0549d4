/** Patterns of whole paths, as in `.dockerignore` and `COPY --exclude`: globs name by name, and `**` for any number of names. */
import { globMatches } from './glob.ts';

/** Names of a pattern or path without `.` and `..`, which no path in a context has. */
export function namesOf(path: string): readonly string[] {
  const names: string[] = [];
  for (const name of path.split('/')) {
    if (name === '..') names.pop();
    else if (name !== '' && name !== '.') names.push(name);
  }
  return names;
}

/** Which lengths of the path the pattern takes, from none of its names to all. Takes time in the order of both lengths multiplied, whatever the pattern. */
function reachedLengths(pattern: readonly string[], path: readonly string[]): readonly boolean[] {
  let reached = path.map(() => false).concat(false);
  reached[0] = true;
  for (const name of pattern) {
    const next = reached.map(() => false);
    for (const [length, isReached] of reached.entries()) {
      if (name === '**') next[length] = isReached || (length > 0 && next[length - 1] === true);
      else if (isReached && length < path.length && globMatches(name, path[length] ?? ''))
        next[length + 1] = true;
    }
    reached = next;
  }
  return reached;
}

/** Whether the pattern means exactly this path. */
export const pathMatches = (pattern: readonly string[], path: readonly string[]): boolean =>
  reachedLengths(pattern, path)[path.length] === true;

/** Whether the pattern means the path or a directory that it is in. */
export const pathIsBelow = (pattern: readonly string[], path: readonly string[]): boolean =>
  reachedLengths(pattern, path).includes(true, 1);

/** A set of lines as in `.dockerignore`: whether a path is left out. The last line that means it, or a directory that it is in, decides; `!` takes back. */
export function parseIgnore(text: string): (path: string) => boolean {
  const rules = text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => ({ takesBack: line.startsWith('!'), pattern: namesOf(line.replace(/^!\s*/, '')) }));
  return (path) => {
    const names = namesOf(path);
    return rules.findLast(({ pattern }) => pathIsBelow(pattern, names))?.takesBack === false;
  };
}
