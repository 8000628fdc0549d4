/** A reporter of Node's test runner that ends with a table in Markdown, a row for each file. */
import { relative } from 'node:path';
import { root } from './paths.mjs';

/** @param source the runner's events */
export default async function* fileResults(source) {
  const files = new Map();
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const name = relative(root, data.file ?? '');
    const file = files.get(name) ?? { passed: 0, failed: 0, skipped: 0, seconds: 0 };
    files.set(name, file);
    if (data.nesting === 0) file.seconds += data.details.duration_ms / 1000;
    if (data.details.type === 'suite') continue;
    if (data.skip !== undefined) file.skipped++;
    else if (type === 'test:pass') file.passed++;
    else file.failed++;
  }
  yield '| file | passed | failed | skipped | seconds |\n|---|---:|---:|---:|---:|\n';
  for (const [name, { passed, failed, skipped, seconds }] of [...files].sort())
    yield `| \`${name}\` | ${passed} | ${failed} | ${skipped} | ${seconds.toFixed(0)} |\n`;
}
