/**
 * `npm run test:attacks`: every attack of `e2e/security/` under both runtimes, also in sandboxes that waited for somebody, and what came of them as the table of `docs/security.md`. CI runs the same
 * attacks but for those that take long, and writes no table.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './lib/paths.mjs';
import { runMain, SetupError, step } from './lib/step.mjs';
import { runTests } from './lib/test-runner.mjs';
import { processors, thisRun } from './lib/this-run.mjs';
import { pythonClientVersions, setup, setupPythonClients } from './setup.mjs';

const TIMEOUT_MS = 900_000;
/** The table is between these lines of the page. */
const [begin, end] = ['<!-- made by npm run test:attacks -->', '<!-- until here -->'];

await runMain(async () => {
  if (process.getuid?.() !== 0) throw new SetupError('Making sandboxes needs root.');
  await setup();
  await setupPythonClients(pythonClientVersions.slice(0, 1));
  const scratch = mkdtempSync(join(tmpdir(), 'attacks-'));
  try {
    const record = join(scratch, 'record');
    writeFileSync(record, '');
    mkdirSync(join(scratch, 'data'), { mode: 0o700 });
    const env = {
      ...process.env,
      SKERRY_E2E_DATA_DIR: join(scratch, 'data'),
      SKERRY_TEST_ATTACKS: 'all',
      SKERRY_TEST_RECORD: record,
    };
    const code = await runTests(['e2e/security/*.test.ts'], { timeoutMs: TIMEOUT_MS, env });
    // The same once more in sandboxes that waited for somebody; the table is of the others.
    const { SKERRY_TEST_RECORD: _, ...onWaiting } = { ...env, SKERRY_TEST_WAITING: '1' };
    const again = await runTests(['e2e/security/attacks.test.ts'], { timeoutMs: TIMEOUT_MS, env: onWaiting });
    const page = join(root, 'docs', 'security.md');
    writeFileSync(
      page,
      withTable(
        readFileSync(page, 'utf8'),
        readFileSync(record, 'utf8'),
        await thisRun(),
        code === 0 && again === 0,
      ),
    );
    return code || again;
  } finally {
    await step('Clean up', () => rmSync(scratch, { recursive: true, force: true }));
  }
});

/** @param lines one JSON object for each attack under each runtime */
function withTable(page, lines, run, passed) {
  const [before, rest] = page.split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) throw new SetupError(`docs/security.md has no ${begin} with a ${end} after it.`);
  const outcomes = lines
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  const failed = passed ? '' : ' **Some tests failed: see the output of the run.**';
  const threats = [...new Set(outcomes.map(({ threat }) => threat))];
  const tables = threats.flatMap((threat) => ['', `### ${threat}`, '', ...table(outcomes, threat)]);
  const count = new Set(outcomes.map(({ name }) => name)).size;
  const heading = `${count} attacks, ${run}, Linux ${release()}, ${processors()}.${failed}`;
  return [before + begin, '', heading, ...tables, '', end + after].join('\n');
}

function table(outcomes, threat) {
  const some = outcomes.filter((outcome) => outcome.threat === threat);
  const names = [...new Set(some.map(({ name }) => name))];
  // Where the runtime has no part in it, there is one column.
  const runtimes = [...new Set(some.map(({ runtime }) => runtime))];
  const cell = (name, runtime) => {
    const outcome = some.find((each) => each.name === name && each.runtime === runtime);
    if (!outcome) return '';
    const { open, by, said } = outcome;
    const words = said
      .replaceAll(/\/tmp\/[^/\s]+/g, '…')
      .replaceAll('|', '\\|')
      .replaceAll('\n', ' ');
    const says = words && `; \`${words.replaceAll('`', "'")}\``;
    return open === undefined ? `held: ${by}${says}` : `**not held**: ${open}`;
  };
  return [
    `| it tries to | ${runtimes.map((runtime) => runtime ?? 'what came of it').join(' | ')} |`,
    `| --- |${runtimes.map(() => ' --- |').join('')}`,
    ...names.map((name) => `| ${name} | ${runtimes.map((runtime) => cell(name, runtime)).join(' | ')} |`),
  ];
}
