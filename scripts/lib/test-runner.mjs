/** Runs test files, for `npm test` and the suites that have a command of their own. */
import { join } from 'node:path';
import { attach } from './command.mjs';
import { localDir, node, root } from './paths.mjs';

/** A machine on which all takes longer, as an emulated one, says how much. */
export const SLOWNESS = Math.max(1, Number(process.env.SKERRY_TEST_SLOWNESS) || 1);

/**
 * @param files paths or patterns, from the project's root
 * @param options `timeoutMs`: no single test may take longer (longer where all does); `concurrency`: files at once; `table`: where a table of the files is to be written
 * @returns the exit status
 */
export function runTests(files, { timeoutMs, concurrency = 1, env = process.env, table }) {
  const flags = [
    `--test-concurrency=${concurrency}`,
    `--test-timeout=${timeoutMs * SLOWNESS}`,
    `--import=${new URL('test-end.mjs', import.meta.url)}`,
    ...reporter('spec'),
    ...reporter(new URL('slowest-files.mjs', import.meta.url)),
    ...(table === undefined ? [] : reporter(new URL('file-results.mjs', import.meta.url), table)),
  ];
  // Each file is a process of its own, and many start others: what one made of a source without its types, the others find.
  const cached = { ...env, NODE_COMPILE_CACHE: join(localDir, 'compile-cache') };
  return attach([node, '--test', ...flags, ...files], { cwd: root, env: cached });
}

const reporter = (name, destination = 'stdout') => [
  `--test-reporter=${name}`,
  `--test-reporter-destination=${destination}`,
];
