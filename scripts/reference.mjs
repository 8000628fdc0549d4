/**
 * `npm run reference`: writes the reference of the SDK, `docs/sdk/`, from the comments of its sources. With --check nothing is written: it fails when what is committed differs. Either fails for
 * something exported that has no comment.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { capture } from './lib/command.mjs';
import { differing } from './lib/generated.mjs';
import { root } from './lib/paths.mjs';
import { runMain, step } from './lib/step.mjs';
import { ensureTools, tool } from './lib/tools.mjs';

const REFERENCE = join(root, 'docs', 'sdk');

await runMain(async () => {
  await step('Tools', ensureTools);
  const typedoc = await tool('typedoc');
  const write = async (to) => {
    await capture([typedoc, '--options', 'sdk/typedoc.json', '--out', to], { cwd: root });
  };
  if (!process.argv.includes('--check')) {
    await step('Reference of the SDK', () => write(REFERENCE));
    return 0;
  }
  const temporary = mkdtempSync(join(tmpdir(), 'skerry-reference-'));
  try {
    await step('Reference of the SDK', () => write(temporary));
    const stale = differing(temporary, REFERENCE);
    for (const name of stale) console.error(`docs/sdk/${name} is not what the comments say`);
    if (stale.length > 0) console.error('Run `npm run reference` and commit the result.');
    return stale.length > 0 ? 1 : 0;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
});
