/**
 * `npm run test:crash [-- KILLS]`: kills the server that many times, 200 by default, half of them under each runtime, while clients upload, commit, reload, build, take
 * snapshots and remove, and all that nobody uses is collected, and half as many while memory is kept, restored, forked, gone back to, put to sleep and woken (`e2e/crash/`). The record goes to `docs/crashes.md`.
 * Before that servers are killed at each point of what they do that has a name, of which CI tries some (`server/src/platform/testing/drawn.ts`). As often under each runtime the server goes while output, input and creates are under way, every second time gracefully (`e2e/restart/restart.test.ts`, without a record). Takes an hour, and
 * is no part of CI.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './lib/paths.mjs';
import { runMain, SetupError, step } from './lib/step.mjs';
import { runTests } from './lib/test-runner.mjs';
import { processors, thisRun } from './lib/this-run.mjs';
import { pythonClientVersions, setup, setupPythonClients } from './setup.mjs';

const RUNTIMES = 2;
/** Of a suite too, which all kills under one runtime are. */
const TIMEOUT_MS = 4 * 3600_000;

await runMain(async () => {
  const kills = Number(process.argv[2] ?? 200);
  if (!Number.isInteger(kills) || kills < RUNTIMES)
    throw new SetupError('How many kills? A whole number from 2.');
  if (process.getuid?.() !== 0) throw new SetupError('Making sandboxes needs root.');
  await setup();
  await setupPythonClients(pythonClientVersions.slice(0, 1));
  const scratch = mkdtempSync(join(tmpdir(), 'crash-'));
  try {
    const record = join(scratch, 'record');
    writeFileSync(record, '');
    const env = {
      ...process.env,
      SKERRY_TEST_KILLS: String(Math.ceil(kills / RUNTIMES)),
      SKERRY_TEST_RECORD: record,
    };
    const points = [
      'sandboxes/kills',
      'sandboxes/kills-of-copies',
      'engines/oci/killed-server',
      'volumes/crashes',
    ];
    const units = points.map((each) => `server/src/${each}.test.ts`);
    const atPoints = await runTests(units, {
      timeoutMs: TIMEOUT_MS,
      env: { ...process.env, SKERRY_TEST_THOROUGH: '1', SKERRY_TEST_KILLS: '50' },
    });
    const files = ['e2e/crash/crash.test.ts', 'e2e/crash/memory.test.ts', 'e2e/restart/restart.test.ts'];
    const code = await runTests(files, { timeoutMs: TIMEOUT_MS, env });
    writeFileSync(
      join(root, 'docs', 'crashes.md'),
      report(readFileSync(record, 'utf8'), await thisRun(), code === 0),
    );
    return code || atPoints;
  } finally {
    await step('Clean up', () => rmSync(scratch, { recursive: true, force: true }));
  }
});

/** @param lines one JSON object for each kill after which all was well */
function report(lines, run, passed) {
  const kills = lines
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  const runtimes = [...new Set(kills.map(({ runtime }) => runtime))];
  const counts = new Map();
  for (const { runtime, underway } of kills) {
    for (const what of underway) {
      const of = counts.get(what) ?? {};
      of[runtime] = (of[runtime] ?? 0) + 1;
      counts.set(what, of);
    }
  }
  const rounds = kills.filter(({ roundMs }) => roundMs !== undefined); // what hits memory has none
  const longest = rounds.toSorted((a, b) => b.roundMs - a.roundMs)[0];
  const seconds = (ms) => (ms / 1000).toFixed(1);
  const median = (of) => rounds.map(of).toSorted((a, b) => a - b)[Math.floor(rounds.length / 2)];
  const rows = [...counts].sort(([a], [b]) => a.localeCompare(b));
  return [
    '# Crashes',
    '',
    `\`npm run test:crash\`, ${run}, ${processors()}.`,
    '',
    'The server is killed (`kill -9`) at a random moment of a round in which six threads of a program with the official Python client upload a batch of files,',
    'write and sync in a mounted volume and commit it, reload the same volume elsewhere, take a snapshot of a file system that changes all the time and start a',
    'sandbox from it, build images, start sandboxes of them and put files into sandboxes, and make and delete volumes and images, while everything that nobody used for',
    'two seconds is collected all the time. Then it is started again, and the program goes on. After each kill: every batch is there whole or not',
    'at all, every file has the content whose hash it carries, of the round before or of this one, a snapshot is one moment, and what was answered, is named or runs is there.',
    '',
    'As many kills again, under gVisor, hit checkpoints of the memory of a sandbox, restores, forks and rollbacks of it, its being put to sleep and its waking, each at most as long into it as one takes. After each: memory and files are of one moment, of before or after; of the copies all are there or',
    'none, and of checkpoints those that were told, without anything beside them.',
    '',
    `${kills.length} kills: ${passed ? '**nothing was lost or mixed**' : '**it failed: see the output of the run**'}.`,
    '',
    ...(longest
      ? [
          `From the kill to a server that answers it took ${seconds(median(({ backMs }) => backMs))} s, a whole round ${seconds(median(({ roundMs }) => roundMs))} s (medians). The longest round took`,
          `${seconds(longest.roundMs)} s under ${longest.runtime}; in it the longest step was "${longest.slowest.what}" with ${longest.slowest.seconds} s.`,
          '',
        ]
      : []),
    'What was under way when the server was killed:',
    '',
    `| under way | ${runtimes.join(' | ')} |`,
    `| --- |${runtimes.map(() => ' ---: |').join('')}`,
    ...rows.map(([what, of]) => `| ${what} | ${runtimes.map((runtime) => of[runtime] ?? 0).join(' | ')} |`),
    '',
  ].join('\n');
}
