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

/** Of those that have a process of their own, the ones that take a minute and more: one of them that is begun last is waited for alone. */
const BEGUN_FIRST =
  /(engines\/oci\/(engine(-gvisor)?|killed-server|paused)|image-service|bases\/bases)\.test\.ts$/;

/**
 * Writes files that have the tests of others in them, each test still told of with the file it stands in: groups of those that can share a process, and each of those that are to
 * be begun first. Node's runner begins files in the order of their paths, and absolute ones come before others.
 * @param files paths from the project's root
 * @param directory where they are written; the caller's to remove
 * @param groups at most so many
 * @returns what to run
 */
export function inGroups(files, directory, groups) {
  const isOwn = (path) => {
    const text = readFileSync(join(root, path), 'utf8');
    return WANTS_ITS_OWN.some((sign) => sign.test(text));
  };
  const own = files.filter(isOwn);
  const shared = files.filter((path) => !own.includes(path));
  const write = (name, members) => {
    const path = join(directory, `${name}.test.mjs`);
    const imports = members.map((each) => `import ${JSON.stringify(pathToFileURL(join(root, each)))};\n`);
    writeFileSync(path, imports.join(''));
    return path;
  };
  const first = own.filter((path) => BEGUN_FIRST.test(path));
  return [
    ...first.map((path, index) => write(`first-${index + 1}`, [path])),
    ...Array.from({ length: Math.min(groups, shared.length) }, (_, group) => {
      const members = shared.filter((_, index) => index % groups === group);
      return write(`group-${group + 1}`, [BY_LAUNCHER, ...members]);
    }),
    ...own.filter((path) => !first.includes(path)),
  ];
}
