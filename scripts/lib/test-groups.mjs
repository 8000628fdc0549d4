/** Test files that run in few processes: those that load most of the server, which takes a process almost a second of processor time before its first test. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from './paths.mjs';

/**
 * Tests of interfaces. They change nothing of their process that outlives a test, and have their hooks in a `describe`: one outside would be of all files of the group.
 */
const SHARES_A_PROCESS = /^(server\/src\/api|sdk\/src|modbox-sdk\/src)\//;

/**
 * Writes files that have the tests of several in them, each test still told of with the file it stands in.
 * @param files paths from the project's root
 * @param directory where they are written; the caller's to remove
 * @param groups at most so many
 * @returns these first, since they take longest, and the files that have a process of their own
 */
export function inGroups(files, directory, groups) {
  const shared = files.filter((path) => SHARES_A_PROCESS.test(path));
  const written = Array.from({ length: Math.min(groups, shared.length) }, (_, group) => {
    const path = join(directory, `interfaces-${group + 1}.test.mjs`);
    const members = shared.filter((_, index) => index % groups === group);
    const imports = members.map((each) => `import ${JSON.stringify(pathToFileURL(join(root, each)))};\n`);
    writeFileSync(path, imports.join(''));
    return path;
  });
  return [...written, ...files.filter((path) => !SHARES_A_PROCESS.test(path))];
}
