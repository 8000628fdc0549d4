/**
 * `npm run bench:start [-- --rounds N] [--idle SECONDS] [--beside CLONE]`: how long a server takes from the start of its process until it answers, what it had of the processor by then and what it holds: from the one
 * file that the set-up makes of it, from its sources, and that of another clone which is set up. All take turns, each with a data directory of its own that has been used before. Prints tables and writes them to `results/`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { projectRoot } from '../e2e/support/server.ts';
import { isBundled } from '../server/bundle.mjs';
import { run } from '../server/src/platform/command.ts';
import { delay } from '../server/src/platform/wait.ts';
import { describeMachine } from './machine.ts';
import { publish, say, today, wholeNumber } from './page.ts';
import { processorTimes } from './processor-readings.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

interface Start {
  readonly wallMs: number;
  readonly processorMs: number;
  /** Of its memory, when it answers and when it was idle for a while. */
  readonly startedMiB: number;
  readonly idleMiB: number;
}

interface Program {
  readonly name: string;
  readonly argv: readonly string[];
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    idle: { type: 'string', default: '10' },
    beside: { type: 'string' },
  },
});
const rounds = wholeNumber('rounds', values.rounds, 1000);
const idleMs = wholeNumber('idle', values.idle, 3600) * 1000;
if (!isBundled()) throw new Error('The server in one file is not what the sources are: npm run setup');

/** As its `skerry up` starts it. */
async function serverOf(clone: string): Promise<{ flags: readonly string[]; main: string }> {
  // A clone's own flags name a file of it.
  const { nodeFlags } = (await import(join(clone, 'server/src/platform/node-flags.ts'))) as {
    nodeFlags: readonly string[];
  };
  return { flags: nodeFlags, main: join(clone, 'server/src/main.ts') };
}

const { flags, main } = await serverOf(projectRoot);
const serve = `const { serve } = await import('${join(projectRoot, 'server/src/serve.ts')}'); await serve(process.argv.slice(1));`;
const programs: Program[] = [
  { name: "from the set-up's one file", argv: [...flags, main] },
  { name: 'from its sources', argv: [...flags, '--input-type=module', '--eval', serve, '--'] },
];
if (values.beside !== undefined) {
  const other = await serverOf(resolve(values.beside));
  programs.push({ name: 'of the other clone', argv: [...other.flags, other.main] });
}

const residentMiB = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;

async function measure(argv: readonly string[], dataDir: string): Promise<Start> {
  const words = ['--data-dir', dataDir, '--port', '0', '--warm-pool', 'off', '--log-level', 'error'];
  const begun = performance.now();
  const child = spawn(process.execPath, [...argv, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), ended]);
  const wallMs = performance.now() - begun;
  const { pid } = child;
  if (pid === undefined || typeof line !== 'string' || !line.includes('"ready":true'))
    throw new Error(`The server did not start: ${line}`);
  const processorMs = processorTimes(pid).own;
  const startedMiB = residentMiB(pid);
  await delay(idleMs);
  const idleMiB = residentMiB(pid);
  child.kill();
  await ended;
  return { wallMs, processorMs, startedMiB, idleMiB };
}

const scratch = mkdtempSync(join(tmpdir(), 'bench-start-'));
const placed = programs.map((program, index) => ({ ...program, dataDir: join(scratch, String(index)) }));
const starts = new Map(programs.map(({ name }): [string, Start[]] => [name, []]));
try {
  // The first makes the data directory, the second what Node keeps of the code of one that finds it.
  for (let round = -1; round <= rounds; round++) {
    say(round < 1 ? 'warming up' : `round ${round} of ${rounds}`);
    for (const { name, argv, dataDir } of placed) {
      const start = await measure(argv, dataDir);
      if (round > 0) starts.get(name)?.push(start);
    }
  }
} finally {
  for (const { dataDir } of placed)
    await run([process.execPath, main, '--destroy-all', '--data-dir', dataDir], { timeoutMs: 60_000 });
  rmSync(scratch, { recursive: true, force: true });
}

const tableOf = (title: string, figure: keyof Start): string[] => {
  const rows = [...starts].map(([name, taken]) => ({
    name,
    summary: summarize(taken.map((start) => start[figure])),
  }));
  return [
    `## ${title}`,
    '',
    ...table(
      rows,
      programs.slice(1).map(({ name }) => name),
    ),
    '',
  ];
};
publish(
  'start',
  [
    '# From the start of a server until it answers',
    '',
    `Made by \`npm run bench:start -- --rounds ${rounds}\` on ${today()}.`,
    '',
    ...(await describeMachine()),
    '',
    'The process that the supervisor starts, on a data directory that an earlier one has left, without sandboxes and without a warm pool. Ratios are of medians. Two warm-up rounds are not counted.',
    '',
    ...tableOf('Until it answers, ms', 'wallMs'),
    ...tableOf('What the process had of the processor by then, ms', 'processorMs'),
    ...tableOf('Its memory then, MiB', 'startedMiB'),
    ...tableOf(`Its memory after ${values.idle} s, MiB`, 'idleMiB'),
  ].join('\n'),
);
