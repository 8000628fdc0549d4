/** Clients say which version they are; a few answers depend on it. */

export type Version = readonly [major: number, minor: number, patch?: number];

/** True for text such as `1.0.5` that names a version before the given one. Text that is no version counts as current. */
export function isOlderThan(version: string, [major, minor, patch = 0]: Version): boolean {
  const match = /^(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?/.exec(version);
  if (!match) return false;
  const own = match.slice(1).map((part) => Number(part ?? 0));
  for (const [index, wanted] of [major, minor, patch].entries()) {
    const difference = (own[index] ?? 0) - wanted;
    if (difference !== 0) return difference < 0;
  }
  return false;
}
