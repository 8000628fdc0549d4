/**
 * `npm run bench:command [-- --rounds N]`: how long `skerry run -- true` takes from the start of the command to its end, on an image that is there, beside `docker run --rm`; and the command's own start
 * beside Node's. All take turns. Prints a table and writes it to `results/`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { announce, conceal, runSkerry } from '../e2e/support/command.ts';
import { runtimesToTest } from '../e2e/support/runtimes.ts';
import { projectRoot, startServer } from '../e2e/support/server.ts';
import { untilWarm } from '../e2e/support/warm-pool.ts';
import { CleanupScope } from '../server/src/platform/cleanup.ts';
import { run } from '../server/src/platform/command.ts';
import { delay } from '../server/src/platform/wait.ts';
import { createLogger } from '../server/src/telemetry/logger.ts';
import { timed } from './contender.ts';
import { startDocker } from './docker-contender.ts';
import { describeMachine } from './machine.ts';
import { notMeasured, publish, say, today, wholeNumber } from './page.ts';
import { makeRootFilesystem } from './root-filesystem.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

interface Program {
  readonly name: string;
  readonly argv: (round: number) => readonly [string, ...string[]];
  /** Resolves when its turn may begin, and when the next one's may. */
  readonly ready?: () => Promise<void>;
}

/** What one still does after its turn is not to be in the next one's time. */
const REST_MS = 300;
/** Nobody else asks for so much memory: nothing waits that fits. */
const COLD_MIB = 3000;

const skerry = join(projectRoot, 'cli/bin/skerry');
const sources = `const { main } = await import('${join(projectRoot, 'cli/src/main.ts')}'); process.exitCode = await main(process.argv.slice(1));`;
const fromSources = [
  process.execPath,
  ...['server/src/platform/compile-cache.mjs', 'cli/bin/without-translations.mjs'].flatMap((path) => [
    '--import',
    join(projectRoot, path),
  ]),
  ...['--input-type=module', '-e', sources, '--'],
] as const;

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '15' } } });
const rounds = wholeNumber('rounds', values.rounds, 1000);
await using cleanup = new CleanupScope(createLogger('error'));
const scratch = mkdtempSync(join(tmpdir(), 'bench-command-'));
cleanup.add('scratch', () => rmSync(scratch, { recursive: true, force: true }));

const programs: Program[] = [
  { name: "Node's start alone", argv: () => [process.execPath, '-e', '0'] },
  { name: 'skerry run --help', argv: () => [skerry, 'run', '--help'] },
  { name: 'the same from its sources', argv: () => [...fromSources, 'run', '--help'] },
];
const absent: string[] = [];
try {
  const { tar } = await makeRootFilesystem(scratch);
  const docker = await startDocker({ tar, scratch });
  cleanup.add('docker', () => docker.close());
  programs.push({
    name: 'docker run --rm',
    argv: () => docker.command('run', '--rm', '--network=none', 'bench', 'true'),
  });
} catch (error) {
  absent.push(`docker: ${error instanceof Error ? error.message : error}`);
}
const server = await startServer({ runtime: 'auto', warmPool: 4 });
cleanup.add('server', () => server.stop());
announce(server);
cleanup.add('state', () => conceal(server));
for (const { runtime, skip } of await runtimesToTest()) {
  if (skip !== false) {
    absent.push(`skerry (${runtime}): ${skip}`);
    continue;
  }
  say(`preparing skerry (${runtime})`);
  const image = 'debian:bookworm-slim';
  await runSkerry(server, 'warm', image, '-n', '1', '--for', '12h', '--sandbox-runtime', runtime);
  const words = ['run', '--image', image, '--isolation', runtime, '--data-dir', server.dataDir];
  /** One waits, and none is being made beside what is timed. */
  const ready = async () => {
    await untilWarm(
      server,
      (kinds) =>
        kinds.every(({ making }) => making === 0) &&
        kinds.some((kind) => kind.runtime === runtime && kind.memoryMiB < COLD_MIB && kind.waiting > 0),
    );
  };
  const name = `skerry run -- true (${runtime})`;
  const waiting = [...words, '--', 'true'];
  programs.push(
    { name, argv: (round) => [skerry, ...words, '--memory', String(COLD_MIB + round), '--', 'true'], ready },
    { name: `${name}, waiting`, argv: () => [skerry, ...waiting], ready },
    { name: `${name}, waiting, from the sources`, argv: () => [...fromSources, ...waiting], ready },
  );
}

const samples = new Map(programs.map(({ name }): [string, number[]] => [name, []]));
for (let round = 0; round <= rounds; round++) {
  say(round === 0 ? 'warming up' : `round ${round} of ${rounds}`);
  for (const { name, argv, ready } of programs) {
    await ready?.();
    await delay(REST_MS);
    const ms = await timed(() => run(argv(round)));
    if (round > 0) samples.get(name)?.push(ms);
    await ready?.();
  }
}
const rows = [...samples].map(([name, taken]) => ({ name, summary: summarize(taken) }));
publish(
  'command',
  [
    '# `skerry run -- true`, from its start to its end',
    '',
    `Made by \`npm run bench:command -- --rounds ${rounds}\` on ${today()}.`,
    '',
    ...(await describeMachine()),
    '',
    'Whole commands, as a user calls them: the start of the command, the create, the program, its end and exit status. The image is there; where it says waiting, a sandbox of the warm pool waited for each.',
    'Docker runs with `--network=none`. Milliseconds; ratios are of medians. One warm-up round is not counted.',
    '',
    ...table(rows, ['docker run --rm']),
    '',
    ...notMeasured(absent),
  ].join('\n'),
);
