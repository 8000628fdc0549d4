/** `npm run test:programs`: installs programs of other people and runs them as they stand against a server of this clone. Needs root, as all sandboxes do. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureProgram, programs } from './lib/programs.mjs';
import { runMain, step } from './lib/step.mjs';
import { runTests } from './lib/test-runner.mjs';
import { setup } from './setup.mjs';

const TIMEOUT_MS = 900_000;

await runMain(async () => {
  await setup();
  const missing = [];
  for (const program of programs) {
    await step(program.name, async (progress) => {
      const note = await ensureProgram(program, progress);
      if (note === undefined) missing.push(program.name);
      return note ?? `left out: none of ${program.python.join(', ')} works here`;
    });
  }
  const scratch = mkdtempSync(join(tmpdir(), 'programs-'));
  try {
    const data = process.env.SKERRY_E2E_DATA_DIR || join(scratch, 'data');
    mkdirSync(data, { recursive: true, mode: 0o700 });
    const env = { ...process.env, SKERRY_E2E_DATA_DIR: data, SKERRY_PROGRAMS_MISSING: missing.join(',') };
    return await runTests(['e2e/programs/programs.ts'], { timeoutMs: TIMEOUT_MS, env });
  } finally {
    await step('Clean up', () => rmSync(scratch, { recursive: true, force: true }));
  }
});
