/** Test files that run in few processes: what they load of the server takes a process of each most of a second of processor time before its first test. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from './paths.mjs';

/**
 * What a file has in it that must have a process of its own. In a group, hooks outside of a `describe` would be of all files, tests begin before a file that waits while it is loaded
 * is there, and what is counted from when a file is loaded includes the tests of others; the rest changes the process, or looks at it.
 */
const WANTS_ITS_OWN = [
  /^(before|after)(Each)?\(/m,
  /^(const .*= )?await /m,
  /^( {2})?const \w+ = AbortSignal\.timeout\b/m,
  /\bprocess\.(chdir|umask|on|once|exit\w*|set\w+id|memoryUsage|cpuUsage|getActiveResourcesInfo)\b/,
  /\bprocess\.env\.\w+ = |\bdelete process\.env\b/,
  /(?<!\bt\.)\bmock\.|\bglobalThis\.\w+ = |\bsetServers\b|\/proc\/self\b/,
];

/** First of each group: the more a process has loaded, the longer takes a fork of it, and tests run commands by the thousand. */
const BY_LAUNCHER = 'server/src/platform/testing/by-launcher.ts';

/**
 * Writes files that have the tests of several in them, each test still told of with the file it stands in.
 * @param files paths from the project's root
 * @param directory where they are written; the caller's to remove
 * @param groups at most so many
 * @returns these first, since they take longest, and the files that have a process of their own
 */
export function inGroups(files, directory, groups) {
  const isOwn = (path) => {
    const text = readFileSync(join(root, path), 'utf8');
    return WANTS_ITS_OWN.some((sign) => sign.test(text));
  };
  const shared = files.filter((path) => !isOwn(path));
  const written = Array.from({ length: Math.min(groups, shared.length) }, (_, group) => {
    const path = join(directory, `units-${group + 1}.test.mjs`);
    const members = shared.filter((_, index) => index % groups === group);
    const imports = [BY_LAUNCHER, ...members].map(
      (each) => `import ${JSON.stringify(pathToFileURL(join(root, each)))};\n`,
    );
    writeFileSync(path, imports.join(''));
    return path;
  });
  return [...written, ...files.filter((path) => !shared.includes(path))];
}
