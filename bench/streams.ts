/**
 * `npm run bench:streams [-- --rounds N] [--mib N] [--runtime runc|gvisor] [--beside DIR]`: bytes per second of output, input and files, execs per second and one by one, and what they cost the
 * server of the processor, by the official JavaScript client. Beside them Docker, a server that does nothing, which shows the client's own part, and with `--beside DIR` the Skerry of another clone that is
 * set up. All take turns. Prints a table and writes it to `results/`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { runtimesToTest } from '../e2e/support/runtimes.ts';
import { startServer } from '../e2e/support/server.ts';
import { CleanupScope } from '../server/src/platform/cleanup.ts';
import { createLogger } from '../server/src/telemetry/logger.ts';
import { DockerStreams } from './docker-streams.ts';
import { commitOf, describeMachine } from './machine.ts';
import { notMeasured, publish, say, today, wholeNumber } from './page.ts';
import { makeRootFilesystem } from './root-filesystem.ts';
import { type Results, summarize } from './statistics.ts';
import {
  type DrivenServer,
  MiB,
  residentMiB,
  SkerryStreams,
  type StreamContender,
  streamMeasures,
  type Taken,
} from './stream-contender.ts';

const [EXECS_AT_ONCE, AT_ONCE, EXECS_ONE_BY_ONE] = [500, 64, 25] as const;
const MB = 1e6;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    mib: { type: 'string', default: '100' },
    runtime: { type: 'string' },
    beside: { type: 'string' },
  },
});
const rounds = wholeNumber('rounds', values.rounds, 1000);
const mib = wholeNumber('mib', values.mib, 1000);

/** What each row of the table is about, and in which unit its figures come out of a time. */
const measures = [
  ...streamMeasures.map((key) => ({
    key,
    title: { stdout: 'stdout', stdin: 'stdin', fileWrite: 'file written', fileRead: 'file read' }[key],
    unit: 'MB/s',
    figure: (ms: number) => (mib * MiB) / MB / (ms / 1000),
    costUnit: 'ms/MiB',
    count: mib,
    run: (it: StreamContender) => it.move(key, mib),
  })),
  {
    key: 'execsAtOnce',
    title: `execs, ${AT_ONCE} at a time`,
    unit: '/s',
    figure: (ms: number) => EXECS_AT_ONCE / (ms / 1000),
    costUnit: 'ms each',
    count: EXECS_AT_ONCE,
    run: (it: StreamContender) => it.execs(EXECS_AT_ONCE, AT_ONCE),
  },
  {
    key: 'execs',
    title: 'exec round trip',
    unit: 'ms',
    figure: (ms: number) => ms / EXECS_ONE_BY_ONE,
    costUnit: 'ms each',
    count: EXECS_ONE_BY_ONE,
    run: (it: StreamContender) => it.execs(EXECS_ONE_BY_ONE, 1),
  },
] as const;

await using cleanup = new CleanupScope(createLogger('error'));
const contenders: StreamContender[] = [];
const absent: string[] = [];
const servers: { readonly name: string; readonly pid: number; readonly idleMiB: number }[] = [];

async function enter(name: string, start: () => Promise<DrivenServer>): Promise<void> {
  say(`preparing ${name}`);
  const server = await start();
  let contender: SkerryStreams;
  try {
    contender = await SkerryStreams.start(name, server);
  } catch (error) {
    await server.stop();
    throw error;
  }
  cleanup.add(name, () => contender.close());
  servers.push({ name, pid: server.pid, idleMiB: residentMiB(server.pid) });
  contenders.push(contender);
}

/** One that cannot take part is named below the table, with the reason. */
async function enterDocker(): Promise<void> {
  say('preparing docker');
  const scratch = mkdtempSync(join(tmpdir(), 'bench-'));
  cleanup.add('scratch directory', () => rmSync(scratch, { recursive: true, force: true }));
  try {
    const { tar } = await makeRootFilesystem(scratch);
    const docker = await DockerStreams.start({ tar, scratch });
    cleanup.add(docker.name, () => docker.close());
    contenders.push(docker);
  } catch (error) {
    absent.push(`docker: ${error instanceof Error ? error.message : error}`);
  }
}

for (const { runtime, skip } of await runtimesToTest()) {
  if (values.runtime !== undefined && values.runtime !== runtime) continue;
  if (skip !== false) {
    say(`not measured: skerry (${runtime}): ${skip}`);
    continue;
  }
  const options = { runtime, flags: ['--log-level', 'warn'] } as const;
  await enter(`skerry (${runtime})`, () => startServer(options));
  if (values.beside !== undefined) {
    const clone = resolve(values.beside);
    const theirs: { startServer: typeof startServer } = await import(
      pathToFileURL(join(clone, 'e2e/support/server.ts')).href
    );
    await enter(`skerry (${runtime}) at ${await commitOf(clone)}`, () => theirs.startServer(options));
  }
}
await enter('a server that does nothing', startNothing);
await enterDocker();

const samples = new Map<string, Taken[]>();
for (let round = 0; round <= rounds; round++) {
  say(round === 0 ? 'warming up' : `round ${round} of ${rounds}`);
  for (const { key, run } of measures) {
    for (const contender of contenders) {
      const taken = await run(contender);
      const id = `${key} ${contender.name}`;
      if (round > 0) samples.set(id, [...(samples.get(id) ?? []), taken]);
    }
  }
}

const text = await report();
const beside = values.beside === undefined ? '' : `-beside-${await commitOf(values.beside)}`;
publish(`streams${beside}`, text, figures());

async function startNothing(): Promise<DrivenServer> {
  const child: ChildProcess = spawn(process.execPath, [join(import.meta.dirname, 'nothing-server.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [port] = (await once(child.stdout ?? child, 'data')) as [Buffer];
  return {
    url: `http://127.0.0.1:${String(port).trim()}`,
    pid: child.pid ?? 0,
    token: { tokenId: 'ak-nothing', tokenSecret: 'as-nothing' },
    stop: async () => void child.kill(),
  };
}

/** The page's figures, for programs. */
function figures(): Results {
  return new Map(
    measures.map(({ key, title, unit, figure }) => [
      `${title}, ${unit}`,
      new Map(
        contenders.map(({ name }) => [
          name,
          summarize((samples.get(`${key} ${name}`) ?? []).map(({ ms }) => figure(ms))),
        ]),
      ),
    ]),
  );
}

async function report(): Promise<string> {
  const round = (value: number) => (value < 10 ? value.toFixed(2) : value.toFixed(0));
  const rows = measures.flatMap(({ key, title, unit, figure, costUnit, count }) =>
    contenders.map(({ name }) => {
      const taken = samples.get(`${key} ${name}`) ?? [];
      const { median, min, max } = summarize(taken.map(({ ms }) => figure(ms)));
      const costs = taken.flatMap(({ serverMs }) => (serverMs === undefined ? [] : [serverMs / count]));
      const cost = costs.length === 0 ? '' : `${round(summarize(costs).median)} ${costUnit}`;
      const cells = [median, min, max].map(round);
      return `| ${[title, name, `${cells[0]} ${unit}`, cells[1], cells[2], cost].join(' | ')} |`;
    }),
  );
  const memory = servers.map(
    ({ name, pid, idleMiB }) => `| ${name} | ${idleMiB.toFixed(0)} | ${residentMiB(pid).toFixed(0)} |`,
  );
  return [
    '# Streams, files and execs',
    '',
    `Made by \`npm run bench:streams -- --rounds ${rounds} --mib ${mib}${values.beside === undefined ? '' : ' --beside ...'}\` on ${today()}.`,
    '',
    ...(await describeMachine()),
    '',
    'By the official JavaScript client, on this machine. The last column is what the server had of the processor, client, agent and program not counted; against the server that does nothing the',
    "time is the client's own. Docker is `docker exec` with its output or input in a pipe, `docker cp`, and a `docker exec` for each exec. One warm-up round is not counted.",
    '',
    '| what | server | median | min | max | server’s processor time |',
    '| --- | --- | ---: | ---: | ---: | ---: |',
    ...rows,
    '',
    '| memory of the server, MiB | beside one sandbox | at the end |',
    '| --- | ---: | ---: |',
    ...memory,
    '',
    ...notMeasured(absent),
  ].join('\n');
}
