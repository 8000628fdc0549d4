/** What records of suites say of when, of what and on what they were made. */
import { availableParallelism, cpus } from 'node:os';
import { capture } from './command.mjs';
import { root } from './paths.mjs';

/** `2026-11-28, commit 94e6e55` */
export async function thisRun() {
  const commit = await capture(['git', '-C', root, 'rev-parse', '--short', 'HEAD']);
  return `${new Date().toISOString().slice(0, 10)}, commit ${commit.trim()}`;
}

/** `2 processors (Intel(R) Xeon(R) Processor)` */
export const processors = () =>
  `${availableParallelism()} processors (${cpus()[0]?.model.trim() ?? 'unknown'})`;
