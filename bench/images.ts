/**
 * `npm run bench:images [-- --rounds N] [--layers 1,10,40,120]`: how long an image of five steps takes to build (without a cache, all cached, the first or the last COPY changed), how long it
 * takes from an image of so many layers that is there to the first output of a program on it, how long one of 500 MB takes to pull and unpack from a registry on this machine, and each step of the first
 * program's image on an empty data directory. Beside Skerry docker, buildah, and skopeo with umoci and runc, as far as they are installed; all take turns, each by its command. The base is busybox, so that
 * nothing is fetched but for the last. Prints a table and writes it to `results/`.
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
import { LARGE_IMAGE, sendLargeImage, startImageServer } from './large-image.ts';
import { describeMachine } from './machine.ts';
import { timeToFirstByte } from './oci-contender.ts';
import { picture, publish, say, today, wholeNumber } from './page.ts';
import { seedImageSteps } from './seed-image.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

type Argv = readonly [string, ...string[]];

/** One way to build and to run images. */
interface Builder {
  readonly name: string;
  /** @param flags for one without a cache */
  readonly build?: (context: string, tag: string, ...flags: string[]) => Argv;
  /** To the first output of `echo hello` on an image that `prepare` was called for. Milliseconds. */
  readonly start?: (tag: string) => Promise<number>;
  /** @param archive the image as Skerry exports it */
  readonly prepare?: (tag: string, archive: string) => Promise<void>;
  /** Commands that fetch and unpack an image, and those after which nothing of it is there. */
  readonly pull?: (reference: string) => { readonly take: readonly Argv[]; readonly forget: readonly Argv[] };
}

const STEP_TIMEOUT_MS = 600_000;
const MAX_LAYERS = 120;
/** One takes many seconds. */
const MAX_PULLS = 3;
const PULL = 'Pull and unpack of 500 MB';
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
const registry = await startImageServer(scratch);
cleanup.add('registry', () => registry[Symbol.asyncDispose]());
const server = await startServer({
  ...{ runtime: 'runc', freshData: true },
  flags: ['--insecure-registries', registry.host],
});
cleanup.add('server', () => server.stop());
announce(server);
cleanup.add('command', () => conceal(server));
const skerry = (...args: string[]) => run(skerryCommand(server, ...args), { timeoutMs: STEP_TIMEOUT_MS });

const builders: Builder[] = [
  {
    name: 'skerry',
    build: (context, tag, ...flags) => skerryCommand(server, 'image', 'build', context, '-t', tag, ...flags),
    start: (tag) => {
      const [program, ...args] = skerryCommand(server, 'run', '--image', tag);
      return timeToFirstByte([program, ...args, '--', 'echo', 'hello']);
    },
    pull: (reference) => ({
      take: [skerryCommand(server, 'image', 'pull', reference)],
      forget: [skerryCommand(server, 'prune', '--unused-for', '0m')],
    }),
  },
];
const absent: string[] = [];
await enter('docker', docker);
await enter('buildah', buildah);
await enter('skopeo, umoci, runc', umoci);

const context = contextOf('steps', DOCKERFILE);
const samples = new Map<string, Map<string, number[]>>();
for (let round = 0; round <= rounds; round++) {
  say(round === 0 ? 'builds: warming up' : `builds: round ${round} of ${rounds}`);
  const builds = [
    { measure: 'no cache', changed: [], flags: ['--no-cache'] },
    { measure: 'the first COPY changed', changed: ['first'], flags: [] },
    { measure: 'all steps cached', changed: [], flags: [] },
    { measure: 'the last COPY changed', changed: ['last'], flags: [] },
  ] as const;
  for (const { measure, changed, flags } of builds) {
    for (const name of changed) writeFileSync(join(context, name), `${round} ${measure}`);
    for (const { name, build } of builders) {
      if (!build) continue;
      const argv = build(context, 'bench-steps:1', ...flags);
      note(round, `Build, ${measure}`, name, await timed(() => execute(argv)));
    }
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

say('making an image of 500 MB');
const reference = await sendLargeImage(registry.host, scratch);
for (let round = 0; round <= Math.min(rounds, MAX_PULLS); round++) {
  say(`pulls: round ${round}`);
  for (const { name, pull } of builders) {
    if (!pull) continue;
    const { take, forget } = pull(reference);
    const ms = await timed(async () => {
      for (const argv of take) await execute(argv);
    });
    note(round, PULL, name, ms);
    for (const argv of forget) await execute(argv);
  }
}
say('the image of the first program');
const seed = await seedImageSteps();

const results = new Map(
  [...samples].map(([measure, taken]) => [
    measure,
    new Map([...taken].map(([name, all]) => [name, summarize(all)])),
  ]),
);
const page = [
  `# Images: milliseconds, ${rounds} rounds, ${today()}`,
  '',
  ...(await describeMachine()),
  "- each by its command, whose own start counts: that of Skerry's is a Node.js program",
  `- the image to pull: ${LARGE_IMAGE}, from ${registry.name} on this machine`,
  ...absent.map((line) => `- absent: ${line}`),
  '',
  picture('images'),
  ...[...results].flatMap(([measure, taken]) => {
    const rows = [...taken].map(([name, summary]) => ({ name, summary }));
    return ['', `## ${measure}`, '', ...table(rows, ['docker', 'buildah', 'skopeo, umoci, runc'])];
  }),
  ...['', '## The image of the first program, on an empty data directory, by Skerry alone', '', ...seed],
  '',
].join('\n');
publish('images', page, results);

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
    build: (directory, tag, ...flags) =>
      command('build', '--quiet', '--network=none', '-t', tag, ...flags, directory),
    prepare: async (_tag, archive) => void (await execute(command('load', '--quiet', '-i', archive))),
    start: (tag) => timeToFirstByte(command('run', '--rm', '--network=none', tag, 'echo', 'hello')),
    pull: (image) => ({ take: [command('pull', '--quiet', image)], forget: [command('rmi', image)] }),
  };
}

async function buildah(): Promise<Builder> {
  if (!findProgram('buildah')) throw new Error('it is not installed');
  const storage = ['--root', join(scratch, 'buildah'), '--runroot', join(scratch, 'buildah-run')];
  const flags = ['--layers', '--isolation=chroot', '--quiet'];
  return {
    name: 'buildah',
    build: (directory, tag, ...more) => [
      'buildah',
      ...storage,
      ...['build', ...flags, ...more, '-t', tag, directory],
    ],
    pull: (image) => ({
      take: [['buildah', ...storage, 'pull', '--quiet', '--tls-verify=false', image]],
      forget: [['buildah', ...storage, 'rmi', image]],
    }),
  };
}

/** Each time from the image as a layout, since that is what it has. */
async function umoci(): Promise<Builder> {
  for (const program of ['umoci', 'skopeo', 'runc'])
    if (!findProgram(program)) throw new Error(`${program} is not installed`);
  const layoutOf = (tag: string) => join(scratch, `layout-${tag.replace(/:.*/, '')}`);
  let count = 0;
  return {
    name: 'skopeo, umoci, runc',
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
    pull: (image) => {
      const [layout, bundle] = [join(scratch, 'pulled'), join(scratch, 'unpacked')];
      return {
        take: [
          ['skopeo', 'copy', '--quiet', '--src-tls-verify=false', `docker://${image}`, `oci:${layout}:1`],
          ['umoci', 'unpack', '--image', `${layout}:1`, bundle],
        ],
        forget: [['rm', '-r', layout, bundle]],
      };
    },
  };
}
