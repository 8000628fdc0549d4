/**
 * `npm run bench [-- --rounds N] [--quick] [--vs docker,podman,runc,runsc]`: how long a user waits for a sandbox's first output and for one exec, beside others in the same
 * run; `--quick` takes three rounds. The contenders take turns, so that whatever else the machine does hits all of them. Prints a table and writes it to `results/`.
 * `--check` compares with the last one instead (`check.ts`). `--beside DIR` has the Skerry of another clone, set up there, take part as well: what a change costs, in pairs.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { runtimesToTest } from '../e2e/support/runtimes.ts';
import { CleanupScope } from '../server/src/platform/cleanup.ts';
import { createLogger } from '../server/src/telemetry/logger.ts';
import { check } from './check.ts';
import { containerContender } from './container-contender.ts';
import type { Contender } from './contender.ts';
import { startDocker } from './docker-contender.ts';
import { commitOf, describeMachine } from './machine.ts';
import { ociContender, runscContender } from './oci-contender.ts';
import { notMeasured, picture, publish, say, today, wholeNumber } from './page.ts';
import { startPodman } from './podman-contender.ts';
import { makeRootFilesystem } from './root-filesystem.ts';
import { skerryContenders } from './skerry-contender.ts';
import { table } from './table.ts';
import { takeTurns } from './turns.ts';

const MAX_ROUNDS = 1_000;
const QUICK_ROUNDS = 3;
const PEERS = ['runc', 'runsc', 'docker', 'podman'];

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    quick: { type: 'boolean', default: false },
    vs: { type: 'string', default: PEERS.join(',') },
    beside: { type: 'string' },
    check: { type: 'boolean', default: false },
  },
});
if (values.check) process.exit((await check()) ? 0 : 1);
const rounds = values.quick ? QUICK_ROUNDS : wholeNumber('rounds', values.rounds, MAX_ROUNDS);
const peers = values.vs.split(',').filter((name) => name !== '');
for (const name of peers) {
  if (!PEERS.includes(name)) throw new RangeError(`--vs knows ${PEERS.join(', ')}, not ${name}`);
}

await using cleanup = new CleanupScope(createLogger('error'));
const scratch = mkdtempSync(join(tmpdir(), 'bench-'));
cleanup.add('scratch directory', () => rmSync(scratch, { recursive: true, force: true }));
const contenders: Contender[] = [];
const absent: string[] = [];

/** One that cannot take part is named in the table's notes with the reason. */
async function enter(name: string, make: () => Promise<Contender | readonly Contender[]>): Promise<void> {
  say(`preparing ${name}`);
  try {
    for (const contender of [await make()].flat()) {
      cleanup.add(contender.name, () => contender.close());
      contenders.push(contender);
    }
  } catch (error) {
    absent.push(`${name}: ${error instanceof Error ? error.message : error}`);
  }
}

/** The contenders of another clone, by their own code. */
async function others(runtime: 'runc' | 'gvisor'): Promise<Contender[]> {
  const clone = resolve(values.beside ?? '');
  const theirs: { skerryContenders: typeof skerryContenders } = await import(
    pathToFileURL(join(clone, 'bench/skerry-contender.ts')).href
  );
  const commit = await commitOf(clone);
  return (await theirs.skerryContenders(runtime)).map((contender) => ({
    name: `${contender.name} at ${commit}`,
    createToFirstOutput: () => contender.createToFirstOutput(),
    execRoundTrip: () => contender.execRoundTrip(),
    close: () => contender.close(),
  }));
}

const { dir, tar } = await makeRootFilesystem(scratch);
const options = { tar, rootfs: dir, scratch };
const makers: Record<string, () => Promise<Contender>> = {
  runc: () => ociContender({ name: 'runc', command: ['runc', '--root', join(scratch, 'runc')], ...options }),
  runsc: () => runscContender(options),
  docker: async () => containerContender('docker', await startDocker(options)),
  podman: async () => containerContender('podman', await startPodman(options)),
};
for (const name of peers) await enter(name, makers[name] ?? assert.fail);
for (const { runtime, skip } of await runtimesToTest()) {
  if (skip !== false) {
    absent.push(`skerry (${runtime}): ${skip}`);
    continue;
  }
  await enter(`skerry (${runtime})`, () => skerryContenders(runtime));
  if (values.beside !== undefined) await enter(`the other skerry (${runtime})`, () => others(runtime));
}

if (!contenders.some(({ name }) => name.startsWith('skerry'))) {
  throw new Error(`There is nothing of Skerry to measure: ${absent.join('; ')}`);
}

const results = await takeTurns(contenders, rounds);
const kind = values.beside === undefined ? 'create-and-exec' : `beside-${await commitOf(values.beside)}`;
const text = await report();
publish(kind, text, results);

async function report(): Promise<string> {
  const sections = [...results].flatMap(([title, summaries]) => {
    const rows = [...summaries].map(([name, summary]) => ({ name, summary }));
    return [`## ${title}`, '', ...table(rows, peers), ''];
  });
  return [
    `# Create and exec, beside ${peers.join(', ')}`,
    '',
    `Made by \`npm run bench -- --rounds ${rounds}${values.beside === undefined ? '' : ' --beside ...'}\` on ${today()}.`,
    '',
    ...(await describeMachine()),
    '',
    'Create to first output: from nothing to the first byte of `echo hello`. Exec round trip: `true` in something that runs, until its',
    'exit status is known. Skerry is measured from the official JavaScript client over the wire (and, where it says REST, from the Modbox',
    'interface), with overlay, network, firewall and limits, cold (no warm pool); where it says waiting, a sandbox of the warm pool waited for each',
    'create; runc and runsc alone have none of these, and Docker and Podman run with `--network=none`. The others are measured as whole commands, as a',
    'user calls them. Milliseconds; ratios are of medians. One warm-up round is not counted.',
    '',
    picture(kind),
    '',
    ...sections,
    ...notMeasured(absent),
  ].join('\n');
}
