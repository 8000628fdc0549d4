/**
 * `npm run bench:gvisor [-- --rounds N]`: what gVisor's own switches give, one at a time beside those that Skerry starts it with: until the first output, an exec, many small files (as `npm install` and its like write,
 * look at, read and remove them), and calls into the kernel. Beside them plain runc, and Skerry's sandboxes themselves. All take turns. Prints tables and writes them to `results/`. For a quiet machine.
 */
import { accessSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Sandbox } from 'modal';
import { skipWithout } from '../e2e/support/runtimes.ts';
import { startServer } from '../e2e/support/server.ts';
import { CleanupScope } from '../server/src/platform/cleanup.ts';
import { run } from '../server/src/platform/command.ts';
import { createLogger } from '../server/src/telemetry/logger.ts';
import { timed } from './contender.ts';
import { describeMachine } from './machine.ts';
import { benchImage, firstOutput, modalClient } from './modal-client.ts';
import { ociContender, releaseRunsc, runscCommand } from './oci-contender.ts';
import { notMeasured, picture, publish, say, today, wholeNumber } from './page.ts';
import { makeRootFilesystem } from './root-filesystem.ts';
import { type Results, summarize } from './statistics.ts';
import { table } from './table.ts';

const BASELINE = 'as Skerry has it';
/** Those of Skerry's that matter here (server/src/engines/oci/runtime.ts); the network is none for all. */
const SKERRYS = ['--platform=systrap', '--overlay2=none', '--host-uds=open', '--oci-seccomp=true'];

/** What each changes of them: the last of two that contradict holds. */
const variants: Readonly<Record<string, readonly string[]>> = {
  [BASELINE]: [],
  'platform kvm': ['--platform=kvm'],
  'a root that forgets, in memory': ['--overlay2=root:memory'],
  'a root that forgets, in a file': ['--overlay2=root:self'],
  'no directfs': ['--directfs=false'],
  'shared file access': ['--file-access=shared'],
  'no host sockets': ['--host-uds=none'],
  'no seccomp filter of ours': ['--oci-seccomp=false'],
  'no huge pages for programs': ['--app-huge-pages=false'],
  'a larger cache of names': ['--dcache=100000'],
};

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '5' } } });
const rounds = wholeNumber('rounds', values.rounds, 100);
const without = await skipWithout('gvisor');
if (without !== false) throw new Error(`There is no gVisor: ${without}`);

interface Candidate {
  readonly name: string;
  start(): Promise<number>;
  exec(argv: readonly string[]): Promise<void>;
}

const LOAD = '/load.pl';
const measures = {
  'Create to first output': (it: Candidate) => it.start(),
  'Exec round trip': (it: Candidate) => timed(() => it.exec(['true'])),
  '4,000 small files: written, looked at, read, removed': (it: Candidate) =>
    timed(() => it.exec(['perl', LOAD, 'files'])),
  '200,000 calls into the kernel, half of them for a file': (it: Candidate) =>
    timed(() => it.exec(['perl', LOAD, 'calls'])),
} as const;

await using cleanup = new CleanupScope(createLogger('error'));
const scratch = mkdtempSync(join(tmpdir(), 'bench-'));
cleanup.add('scratch directory', () => rmSync(scratch, { recursive: true, force: true }));
const { dir } = await makeRootFilesystem(scratch);
copyFileSync(join(import.meta.dirname, 'load.pl'), join(dir, LOAD));
const candidates: Candidate[] = [];
const absent: string[] = [];
let bundles = 0;

/** One that does not work here is named below the tables, with the reason. */
async function enter(name: string, make: () => Promise<Candidate>): Promise<void> {
  say(`preparing ${name}`);
  try {
    candidates.push(await make());
  } catch (error) {
    absent.push(`${name}: ${error instanceof Error ? error.message : error}`);
  }
}

/** A root file system of its own, which the loads write to. */
async function plain(name: string, command: readonly [string, ...string[]]): Promise<Candidate> {
  const label = `bundle-${bundles++}`;
  const rootfs = join(scratch, label);
  await run(['cp', '--archive', dir, rootfs]);
  const contender = await ociContender({
    ...{ name: label, command: [...command], rootfs, scratch },
    writable: true,
  });
  cleanup.add(name, () => contender.close());
  return { name, start: () => contender.createToFirstOutput(), exec: (argv) => contender.exec(argv) };
}

async function skerry(): Promise<Candidate> {
  const server = await startServer({ runtime: 'gvisor', flags: ['--log-level', 'warn'] });
  cleanup.add('server', () => server.stop());
  const client = modalClient(server);
  cleanup.add('client', () => client.close());
  const { app, image } = await benchImage(client);
  const idle: Sandbox = await client.sandboxes.create(app, image, { timeoutMs: 6 * 3_600_000 });
  await idle.filesystem.copyFromLocal(join(import.meta.dirname, 'load.pl'), LOAD);
  return {
    name: 'skerry (gvisor)',
    start: async () => {
      let sandbox: Sandbox | undefined;
      const ms = await timed(async () => {
        sandbox = await client.sandboxes.create(app, image);
        await firstOutput(sandbox);
      });
      await sandbox?.terminate();
      return ms;
    },
    exec: async (argv) => {
      const code = await (await idle.exec([...argv])).wait();
      if (code !== 0) throw new Error(`${argv.join(' ')} ended with status ${code}`);
    },
  };
}

await enter('runc', () => plain('runc', ['runc', '--root', join(scratch, 'runc')]));
for (const [name, switches] of Object.entries(variants)) {
  await enter(name, async () => {
    if (switches.includes('--platform=kvm')) accessSync('/dev/kvm');
    return plain(name, await runscCommand(scratch, [...SKERRYS, ...switches]));
  });
}
cleanup.add('namespace of runsc', () => releaseRunsc(scratch));
await enter('skerry', skerry);

const samples = new Map<string, number[]>();
for (let round = 0; round <= rounds; round++) {
  say(round === 0 ? 'warming up' : `round ${round} of ${rounds}`);
  for (const [title, take] of Object.entries(measures)) {
    for (const candidate of candidates) {
      const ms = await take(candidate);
      const key = `${title} ${candidate.name}`;
      if (round > 0) samples.set(key, [...(samples.get(key) ?? []), ms]);
    }
  }
}

const results: Results = new Map(
  Object.keys(measures).map((title) => [
    title,
    new Map(candidates.map(({ name }) => [name, summarize(samples.get(`${title} ${name}`) ?? [])])),
  ]),
);
publish('gvisor', await report(), results);

async function report(): Promise<string> {
  return [
    "# gVisor's own switches",
    '',
    `Made by \`npm run bench:gvisor -- --rounds ${rounds}\` on ${today()}.`,
    '',
    ...(await describeMachine()),
    '',
    `Milliseconds. "${BASELINE}" is \`runsc\` alone with ${SKERRYS.map((flag) => `\`${flag}\``).join(', ')}; each row below it changes what it names. None has a network. runc is plain. Skerry is measured`,
    'by the official JavaScript client, cold, with all that a sandbox has. One warm-up round is not counted.',
    '',
    picture('gvisor'),
    '',
    ...[...results].flatMap(([title, rows]) => [
      `## ${title}`,
      '',
      ...table(
        [...rows].map(([name, summary]) => ({ name, summary })),
        ['runc', BASELINE],
      ),
      '',
    ]),
    ...notMeasured(absent),
  ].join('\n');
}
