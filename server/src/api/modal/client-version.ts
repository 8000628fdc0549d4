/** Clients say which version they are; a few answers depend on it. */

/** True for text such as `1.0.5` that names a version before `[major, minor]`. Text that is no version counts as current. */
export function isOlderThan(version: string, [major, minor]: readonly [number, number]): boolean {
  const match = /^(\d{1,4})\.(\d{1,4})/.exec(version);
  if (!match) return false;
  const [ownMajor, ownMinor] = [Number(match[1]), Number(match[2])];
  return ownMajor < major || (ownMajor === major && ownMinor < minor);
}
