/**
 * Image builder versions: which set of Dockerfile commands the Python client sends for `debian_slim()` and its kin. A Python client refuses a version it
 * does not know, so the answer depends on who asks. See docs/decisions/0004.
 */

/** What a new environment gets. */
export const DEFAULT_BUILDER_VERSION = '2025.06';

/** Versions oldest first, each with the first Python client (major, minor) that knows it. */
const versions = [
  { name: '2023.12', since: [0, 0] },
  { name: '2024.04', since: [0, 0] },
  { name: '2024.10', since: [0, 65] },
  { name: '2025.06', since: [1, 1] },
  { name: '2026.10', since: [1, 6] },
] as const;

export const isBuilderVersion = (name: string): boolean =>
  name === 'PREVIEW' || versions.some((version) => version.name === name);

export const builderVersionNames = (): string => [...versions.map(({ name }) => name), 'PREVIEW'].join(', ');

/**
 * The version to tell a Python client of `clientVersion` (such as `1.0.5`) in an environment set to `wanted`: that one, or the newest older one the
 * client knows. Text that is no version number counts as a current client.
 */
export function builderVersionFor(wanted: string, clientVersion: string): string {
  const match = /^(\d{1,4})\.(\d{1,4})/.exec(clientVersion);
  const index = versions.findIndex(({ name }) => name === wanted);
  if (!match || index < 0) return wanted;
  const [major, minor] = [Number(match[1]), Number(match[2])];
  const known = versions
    .slice(0, index + 1)
    .findLast(({ since }) => major > since[0] || (major === since[0] && minor >= since[1]));
  return known?.name ?? wanted;
}
