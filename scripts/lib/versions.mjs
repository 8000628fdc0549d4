/** Versions as tools print them. */

/** The first dotted number of a text as numbers (`cargo 1.96.0 (…)`, `0.66.0+ds1-1`, `go1.26.6`); undefined when there is none. */
export function parseVersion(text) {
  const found = /\d+(?:\.\d+)+/.exec(text);
  return found?.[0].split('.').map(Number);
}

/** Whether a version is at least another, number by number; a missing number counts as 0. False for no version. */
export function isAtLeast(version, wanted) {
  if (version === undefined) return false;
  for (let i = 0; i < Math.max(version.length, wanted.length); i++) {
    const difference = (version[i] ?? 0) - (wanted[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}
