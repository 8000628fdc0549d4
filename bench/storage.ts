/**
 * `npm run bench:storage [-- --rounds N]`: files, volumes and snapshots as users move them, beside `docker cp`, `docker commit`, `rsync` and the host's own disk in
 * the same run. The contenders take turns. Prints the tables and writes them to `results/`.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Sandbox } from 'modal';
import { type Driver, startDriver } from '../e2e/support/driver.ts';
import { runtimesToTest } from '../e2e/support/runtimes.ts';
import { startServer } from '../e2e/support/server.ts';
import { CleanupScope } from '../server/src/platform/cleanup.ts';
import { run } from '../server/src/platform/command.ts';
import { findProgram } from '../server/src/platform/find-program.ts';
import { createLogger } from '../server/src/telemetry/logger.ts';
import { timed } from './contender.ts';
import { startDocker } from './docker-contender.ts';
import { describeMachine } from './machine.ts';
import { modalClient } from './modal-client.ts';
import { notMeasured, publish, say, today, wholeNumber } from './page.ts';
import { makeRootFilesystem } from './root-filesystem.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

/** One thing that is timed, and who does it how: milliseconds, what is prepared for it not counted. */
interface Measure {
  readonly title: string;
  readonly baseline: string;
  /** Fewer than asked for where one takes long. */
  readonly maxRounds: number;
  readonly contenders: ReadonlyMap<string, () => Promise<number>>;
}

const MIB = 1 << 20;
const SIZES = [
  { name: '1 MiB', bytes: MIB, maxRounds: 20 },
  { name: '100 MiB', bytes: 100 * MIB, maxRounds: 5 },
  { name: '1 GiB', bytes: 1024 * MIB, maxRounds: 3 },
] as const;
const SMALL_FILES = 10_000;
const LOAD_FILES = 20_000;
const CHANGES = [10, 1_000, 100_000] as const;
const LONG_MS = 900_000;

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '5' } } });
const rounds = wholeNumber('rounds', values.rounds, 100);

await using cleanup = new CleanupScope(createLogger('error'));
const scratch = mkdtempSync(join(tmpdir(), 'bench-storage-'));
cleanup.add('scratch directory', () => rmSync(scratch, { recursive: true, force: true }));
const absent: string[] = [];

say('making files');
const files = new Map<string, string>();
for (const { name, bytes } of SIZES) {
  const path = join(scratch, `${bytes}.bin`);
  await run(['dd', 'if=/dev/urandom', `of=${path}`, 'bs=1M', `count=${bytes / MIB}`, 'status=none'], {
    timeoutMs: LONG_MS,
  });
  files.set(name, path);
}
const small = join(scratch, 'small');
makeTree(small, SMALL_FILES);
const load = join(scratch, 'load');
makeTree(load, LOAD_FILES);
const archive = join(scratch, 'load.tar');
await run(['tar', '-C', load, '-cf', archive, '.'], { timeoutMs: LONG_MS });

const docker = await enter('docker', async () => {
  const { tar } = await makeRootFilesystem(scratch);
  const started = await startDocker({ tar, scratch });
  cleanup.add('docker', () => started.close());
  return started;
});
const skerries: Skerry[] = [];
for (const { runtime, skip } of await runtimesToTest()) {
  if (skip !== false) absent.push(`skerry (${runtime}): ${skip}`);
  else await enter(`skerry (${runtime})`, async () => skerries.push(await startSkerry(runtime)));
}
if (skerries.length === 0) throw new Error(`There is nothing of Skerry to measure: ${absent.join('; ')}`);

const samples = new Map<string, number[]>();
const measures = allMeasures();
for (const measure of measures) {
  const count = Math.min(rounds, measure.maxRounds);
  for (let round = 0; round <= count; round++) {
    say(`${measure.title}: ${round === 0 ? 'warming up' : `round ${round} of ${count}`}`);
    for (const [name, once] of measure.contenders) {
      const duration = await once();
      if (round === 0) continue;
      const id = `${measure.title} ${name}`;
      samples.set(id, [...(samples.get(id) ?? []), duration]);
    }
  }
}
publish('storage', await report());

interface Skerry {
  readonly name: string;
  /** Has the Python client do something, and gives the milliseconds it took. */
  python(command: string, ...args: unknown[]): Promise<number>;
  /** A running sandbox of the JavaScript client. */
  readonly js: Sandbox;
}

/** A server with two running sandboxes: `idle` of the Python client, which has a volume as well, and one of the JavaScript client. */
async function startSkerry(runtime: 'runc' | 'gvisor'): Promise<Skerry> {
  const server = await startServer({ runtime, freshData: true, flags: ['--log-level', 'warn'] });
  cleanup.add(`skerry (${runtime})`, () => server.stop());
  const driver: Driver = startDriver(server, 'bench/storage.py');
  cleanup.add(`Python client of ${runtime}`, () => driver[Symbol.asyncDispose]());
  await driver.expect('ready');
  const python = async (command: string, ...args: unknown[]) => {
    driver.send(JSON.stringify([command, ...args]));
    return Number((await driver.expect('done')).ms);
  };
  await python('create', 'idle', 'bench');
  const client = modalClient(server);
  const app = await client.apps.fromName('bench-storage', { createIfMissing: true });
  const image = client.images.fromRegistry('debian:bookworm-slim');
  const js = await client.sandboxes.create(app, image, { timeoutMs: 24 * 3_600_000 });
  await (await js.exec(['true'])).wait();
  cleanup.add('JavaScript client', () => client.close());
  return { name: `skerry (${runtime})`, python, js };
}

/** What cannot take part is named with the reason. */
async function enter<T>(name: string, make: () => Promise<T>): Promise<T | undefined> {
  say(`preparing ${name}`);
  try {
    return await make();
  } catch (error) {
    absent.push(`${name}: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

/** A tree as package managers make them: files of half a KiB to 3 KiB, a hundred a directory. */
function makeTree(directory: string, count: number): void {
  for (let number = 0; number < count; number++) {
    const parent = join(directory, String(Math.floor(number / 100)));
    if (number % 100 === 0) mkdirSync(parent, { recursive: true });
    writeFileSync(join(parent, `${number}.js`), `${number}\n`.repeat(100 + (number % 500)));
  }
}

function allMeasures(): Measure[] {
  return [
    ...SIZES.flatMap((size) => transfers(size)),
    uploads(),
    loads(),
    ...CHANGES.map((count) => snapshots(count)),
    ...CHANGES.map((count) => standstills(count)),
  ];
}

function transfers({ name, maxRounds }: (typeof SIZES)[number]): Measure[] {
  const local = files.get(name) ?? '';
  const back = join(scratch, 'back');
  const writes = new Map<string, () => Promise<number>>();
  const reads = new Map<string, () => Promise<number>>();
  if (docker) {
    const { command, idle } = docker;
    const options = { timeoutMs: LONG_MS };
    writes.set('docker cp', () => timed(() => run(command('cp', local, `${idle}:/file`), options)));
    reads.set('docker cp', () => timed(() => run(command('cp', `${idle}:/file`, back), options)));
  }
  for (const { name: skerry, python, js } of skerries) {
    writes.set(`${skerry}, Python`, () => python('write', 'idle', local, '/file'));
    reads.set(`${skerry}, Python`, () => python('read', 'idle', '/file', back));
    writes.set(`${skerry}, JavaScript`, () => timed(() => js.filesystem.copyFromLocal(local, '/file')));
    reads.set(`${skerry}, JavaScript`, () => timed(() => js.filesystem.copyToLocal('/file', back)));
  }
  const baseline = 'docker cp';
  return [
    { title: `Write a file of ${name}`, baseline, maxRounds, contenders: writes },
    { title: `Read a file of ${name}`, baseline, maxRounds, contenders: reads },
  ];
}

function uploads(): Measure {
  const contenders = new Map<string, () => Promise<number>>();
  let number = 0;
  if (findProgram('rsync')) {
    contenders.set('rsync, to the same disk', async () => {
      const target = join(scratch, `copy-${number++}`);
      const took = await timed(() => run(['rsync', '--archive', small, target], { timeoutMs: LONG_MS }));
      rmSync(target, { recursive: true });
      return took;
    });
  } else absent.push('rsync (Debian package rsync) is not installed');
  if (docker) {
    const { command, idle } = docker;
    contenders.set('docker cp', () =>
      timed(() => run(command('cp', small, `${idle}:/small-${number++}`), { timeoutMs: LONG_MS })),
    );
  }
  for (const { name, python } of skerries.slice(0, 1)) {
    contenders.set(`${name.replace(/ .*/, '')} batch_upload into a volume, Python`, () =>
      python('upload', `upload-${number++}`, small),
    );
  }
  const title = `${SMALL_FILES} files of 1 KiB on average`;
  return { title, baseline: 'docker cp', maxRounds: 5, contenders };
}

function loads(): Measure {
  const contenders = new Map<string, () => Promise<number>>();
  let number = 0;
  const unpack = (directory: string) => `mkdir -p ${directory} && tar -xf /load.tar -C ${directory}`;
  const remove = (directory: string) => `rm -rf ${directory}`;
  contenders.set('host', async () => {
    const target = join(scratch, 'unpacked');
    mkdirSync(target);
    const took = await timed(() => run(['tar', '-xf', archive, '-C', target], { timeoutMs: LONG_MS }));
    rmSync(target, { recursive: true });
    return took;
  });
  if (docker) {
    const { command, idle } = docker;
    const inside = (script: string) =>
      run(command('exec', idle, 'sh', '-ec', script), { timeoutMs: LONG_MS });
    contenders.set('docker, root', async () => {
      if (number === 0) await run(command('cp', archive, `${idle}:/load.tar`));
      const took = await timed(() => inside(unpack('/unpacked')));
      await inside(remove('/unpacked'));
      return took;
    });
  }
  for (const { name, python } of skerries) {
    let sent: Promise<unknown> | undefined;
    for (const [where, directory] of [
      ['root', '/unpacked'],
      ['volume', '/volume/unpacked'],
    ] as const) {
      contenders.set(`${name}, ${where}`, async () => {
        sent ??= python('write', 'idle', archive, '/load.tar');
        await sent;
        number++;
        const took = await python('execute', 'idle', unpack(directory));
        await python('execute', 'idle', remove(directory));
        return took;
      });
    }
  }
  const title = `${LOAD_FILES} small files unpacked by tar inside`;
  return { title, baseline: 'host', maxRounds: 5, contenders };
}

function snapshots(count: number): Measure {
  const contenders = new Map<string, () => Promise<number>>();
  const change = changeOf(count);
  if (docker) {
    const { command } = docker;
    contenders.set('docker commit', async () => {
      await run(
        command('run', '--detach', '--network=none', '--name', 'changed', 'bench', 'sleep', 'infinity'),
      );
      await run(command('exec', 'changed', 'sh', '-ec', change), { timeoutMs: LONG_MS });
      const took = await timed(() => run(command('commit', 'changed', 'kept'), { timeoutMs: LONG_MS }));
      await run(command('rm', '--force', 'changed'));
      await run(command('rmi', 'kept'));
      return took;
    });
  }
  for (const { name, python } of skerries) {
    contenders.set(`${name} snapshot_filesystem, Python`, async () => {
      await python('create', 'changed');
      await python('execute', 'changed', change);
      const took = await python('snapshot', 'changed');
      await python('end', 'changed');
      return took;
    });
  }
  return {
    title: `Snapshot after ${count} files changed`,
    baseline: 'docker commit',
    maxRounds: 5,
    contenders,
  };
}

function changeOf(count: number): string {
  return `mkdir -p /changed && cd /changed && seq ${count} | split -l 1 -a 5`;
}

/** What a program notices of a snapshot: the longest time that it stood still. */
function standstills(count: number): Measure {
  const contenders = new Map<string, () => Promise<number>>();
  for (const { name, python } of skerries) {
    for (const taken of [false, true]) {
      contenders.set(taken ? `${name} snapshot_filesystem` : `${name}, no snapshot`, async () => {
        await python('create', 'changed');
        await python('execute', 'changed', changeOf(count));
        const longest = await python('standstill', 'changed', taken);
        await python('end', 'changed');
        return longest;
      });
    }
  }
  const title = `Longest standstill of a program while a snapshot is taken after ${count} files changed`;
  return { title, baseline: '', maxRounds: 5, contenders };
}

async function report(): Promise<string> {
  const sections = measures.flatMap(({ title, baseline, contenders }) => {
    const rows = [...contenders.keys()].map((name) => ({
      name,
      summary: summarize(samples.get(`${title} ${name}`) ?? []),
    }));
    return [`## ${title}`, '', ...table(rows, [baseline]), ''];
  });
  return [
    '# Files, volumes and snapshots, beside Docker, rsync and the host',
    '',
    `Made by \`npm run bench:storage -- --rounds ${rounds}\` on ${today()}.`,
    '',
    ...(await describeMachine()),
    '',
    'Skerry is measured from the official clients, over the wire, as calls that a program makes; the others as whole commands, as a user calls them. Docker runs with',
    '`--network=none`. Milliseconds; ratios are of medians; a standstill is the longest time between two looks at the clock; one warm-up round is not counted; large ones have fewer rounds.',
    '',
    ...sections,
    ...notMeasured(absent),
  ].join('\n');
}
