/**
 * `npm run bench:images [-- --rounds N] [--layers 1,10,40,120]`: how long an image of five steps takes to build (all steps anew, all cached, the first or the last COPY changed), and
 * how long it takes from an image of so many layers that is there to the first output of a program on it. Beside Skerry docker, buildah, and umoci with runc, as far as
 * they are installed; all take turns, each by its command. The base is busybox, so that nothing is fetched. Prints a table and writes it to `results/`.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { announce, conceal, skerryCommand } from '../e2e/support/command.ts';
import { startServer } from '../e2e/support/server.ts';
import { CleanupScope } from '../server/src/platform/cleanup.ts';
import { run } from '../server/src/platform/command.ts';
import { findProgram } from '../server/src/platform/find-program.ts';
import { createLogger } from '../server/src/telemetry/logger.ts';
import { timed } from './contender.ts';
import { startDocker } from './docker-contender.ts';
import { describeMachine } from './machine.ts';
import { timeToFirstByte } from './oci-contender.ts';
import { publish, say, today, wholeNumber } from './page.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

type Argv = readonly [string, ...string[]];

/** One way to build and to run images. */
interface Builder {
  readonly name: string;
  readonly build?: (context: string, tag: string) => Argv;
  /** To the first output of `echo hello` on an image that `prepare` was called for. Milliseconds. */
  readonly start?: (tag: string) => Promise<number>;
  /** @param archive the image as Skerry exports it */
  readonly prepare?: (tag: string, archive: string) => Promise<void>;
}

const STEP_TIMEOUT_MS = 600_000;
const MAX_LAYERS = 120;
const BASE = ['FROM scratch', 'COPY busybox /bin/busybox', 'RUN ["/bin/busybox", "--install", "-s", "/bin"]'];
const DOCKERFILE = [
  'FROM scratch',
  'COPY busybox first /bin/',
  'RUN ["/bin/busybox", "--install", "-s", "/bin"]',
  'ENV PATH=/bin',
  'RUN i=0; while [ $i -lt 1000 ]; do echo $i >/$i; i=$((i+1)); done',
  'RUN cat /1* >/all',
  'COPY last /',
];

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    layers: { type: 'string', default: '1,10,40,120' },
  },
});
const rounds = wholeNumber('rounds', values.rounds, 100);
const depths = values.layers.split(',').map((text) => wholeNumber('layers', text, MAX_LAYERS));

await using cleanup = new CleanupScope(createLogger('error'));
const scratch = mkdtempSync(join(tmpdir(), 'bench-images-'));
cleanup.add('scratch directory', () => rmSync(scratch, { recursive: true, force: true }));
const server = await startServer({ runtime: 'runc', freshData: true });
cleanup.add('server', () => server.stop());
announce(server);
cleanup.add('command', () => conceal(server));
const skerry = (...args: string[]) => run(skerryCommand(server, ...args), { timeoutMs: STEP_TIMEOUT_MS });

const builders: Builder[] = [
  {
    name: 'skerry',
    build: (context, tag) => skerryCommand(server, 'image', 'build', context, '-t', tag),
    start: (tag) => {
      const [program, ...args] = skerryCommand(server, 'run', '--image', tag);
      return timeToFirstByte([program, ...args, '--', 'echo', 'hello']);
    },
  },
];
const absent: string[] = [];
await enter('docker', docker);
await enter('buildah', buildah);
await enter('umoci and runc', umoci);

const context = contextOf('steps', DOCKERFILE);
const samples = new Map<string, Map<string, number[]>>();
for (let round = 0; round <= rounds; round++) {
  say(round === 0 ? 'builds: warming up' : `builds: round ${round} of ${rounds}`);
  const changes = [
    ['all steps anew (the first COPY changed)', ['first', 'last']],
    ['all steps cached', []],
    ['the last COPY changed', ['last']],
  ] as const;
  for (const [measure, changed] of changes) {
    for (const name of changed) writeFileSync(join(context, name), `${round} ${measure}`);
    for (const { name, build } of builders)
      if (build)
        note(round, `Build, ${measure}`, name, await timed(() => execute(build(context, 'bench-steps:1'))));
  }
}
for (const depth of depths) {
  const tag = `bench-${depth}:1`;
  say(`preparing ${depth} layers`);
  const layers = Array.from({ length: depth }, (_, index) => `RUN echo ${index} >/layer-${index}`);
  const lines = [...BASE, 'ENV PATH=/bin', ...layers];
  await skerry('image', 'build', contextOf(`layers-${depth}`, lines), '-t', tag);
  const archive = join(scratch, `${depth}.tar`);
  await skerry('image', 'export', tag, '-o', archive);
  for (const { prepare } of builders) await prepare?.(tag, archive);
  for (let round = 0; round <= rounds; round++)
    for (const { name, start } of builders)
      if (start) note(round, `Image of ${depth} + 2 layers to first output`, name, await start(tag));
}

const page = [
  `# Images: milliseconds, ${rounds} rounds, ${today()}`,
  '',
  ...(await describeMachine()),
  "- each by its command, whose own start counts: that of Skerry's is a Node.js program",
  ...absent.map((line) => `- absent: ${line}`),
  ...[...samples].flatMap(([measure, taken]) => {
    const rows = [...taken].map(([name, all]) => ({ name, summary: summarize(all) }));
    return ['', `## ${measure}`, '', ...table(rows, ['docker', 'buildah'])];
  }),
  '',
].join('\n');
publish('images', page);

function note(round: number, measure: string, name: string, ms: number): void {
  if (round === 0) return; // warming up
  const taken = samples.get(measure) ?? new Map<string, number[]>();
  samples.set(measure, taken.set(name, [...(taken.get(name) ?? []), ms]));
}

function execute(argv: Argv): Promise<unknown> {
  return run(argv, { timeoutMs: STEP_TIMEOUT_MS });
}

/** One that cannot take part is named in the notes with the reason. */
async function enter(name: string, make: () => Promise<Builder>): Promise<void> {
  say(`preparing ${name}`);
  try {
    builders.push(await make());
  } catch (error) {
    absent.push(`${name}: ${error instanceof Error ? error.message : error}`);
  }
}

/** A directory to build from. */
function contextOf(name: string, lines: readonly string[]): string {
  const directory = join(scratch, name);
  mkdirSync(directory);
  for (const [file, text] of [
    ['Dockerfile', lines.join('\n')],
    ['first', ''],
    ['last', ''],
  ] as const)
    writeFileSync(join(directory, file), text);
  cpSync('/bin/busybox', join(directory, 'busybox'));
  return directory;
}

async function docker(): Promise<Builder> {
  const tar = join(scratch, 'base.tar');
  await run(['tar', '-C', '/', '-cf', tar, 'bin/busybox', '--transform=s,^bin/busybox,bin/sleep,']);
  const { command, close } = await startDocker({ tar, scratch });
  cleanup.add('docker', close);
  return {
    name: 'docker',
    build: (directory, tag) => command('build', '--quiet', '--network=none', '-t', tag, directory),
    prepare: async (_tag, archive) => void (await execute(command('load', '--quiet', '-i', archive))),
    start: (tag) => timeToFirstByte(command('run', '--rm', '--network=none', tag, 'echo', 'hello')),
  };
}

async function buildah(): Promise<Builder> {
  if (!findProgram('buildah')) throw new Error('it is not installed');
  const storage = ['--root', join(scratch, 'buildah'), '--runroot', join(scratch, 'buildah-run')];
  const flags = ['--layers', '--isolation=chroot', '--quiet'];
  return {
    name: 'buildah',
    build: (directory, tag) => ['buildah', ...storage, 'build', ...flags, '-t', tag, directory],
  };
}

/** Each time from the image as a layout, since that is what it has. */
async function umoci(): Promise<Builder> {
  for (const program of ['umoci', 'skopeo', 'runc'])
    if (!findProgram(program)) throw new Error(`${program} is not installed`);
  const layoutOf = (tag: string) => join(scratch, `layout-${tag.replace(/:.*/, '')}`);
  let count = 0;
  return {
    name: 'umoci and runc',
    prepare: async (tag, archive) =>
      void (await execute(['skopeo', 'copy', '--quiet', `oci-archive:${archive}`, `oci:${layoutOf(tag)}:1`])),
    start: async (tag) => {
      const id = `bench-images-${process.pid}-${++count}`;
      const bundle = join(scratch, id);
      const unpacked = await timed(() =>
        execute(['umoci', 'unpack', '--image', `${layoutOf(tag)}:1`, bundle]),
      );
      const path = join(bundle, 'config.json');
      const spec = JSON.parse(readFileSync(path, 'utf8'));
      spec.process = { ...spec.process, args: ['echo', 'hello'], terminal: false };
      writeFileSync(path, JSON.stringify(spec));
      const started = await timeToFirstByte(['runc', 'run', '--bundle', bundle, id]);
      rmSync(bundle, { recursive: true });
      return unpacked + started;
    },
  };
}
