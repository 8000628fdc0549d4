/** A reporter of Node's test runner that ends with the files that took longest: where a suite that grew too slow has its time. */
import { relative } from 'node:path';
import { root } from './paths.mjs';

const SHOWN = 12;

/** @param source the runner's events */
export default async function* slowestFiles(source) {
  const seconds = new Map();
  for await (const { type, data } of source) {
    if ((type !== 'test:pass' && type !== 'test:fail') || data.nesting !== 0) continue;
    const file = relative(root, data.file ?? '');
    seconds.set(file, (seconds.get(file) ?? 0) + data.details.duration_ms / 1000);
  }
  if (seconds.size <= SHOWN) return;
  const slowest = [...seconds].sort(([, a], [, b]) => b - a).slice(0, SHOWN);
  const all = [...seconds.values()].reduce((sum, each) => sum + each, 0);
  yield `Slowest of ${seconds.size} files, which took ${all.toFixed(0)} s one after the other:\n`;
  for (const [file, took] of slowest) yield `${took.toFixed(0).padStart(6)} s  ${file}\n`;
}
