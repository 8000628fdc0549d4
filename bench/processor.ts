/**
 * `npm run bench:processor -- --beside DIR [--runtime runc] [--rounds N] [--what create,exec,...] [--data DIR]`: what each operation takes of the processor, by who takes it: the server, its launcher, the commands that that
 * started, the sandbox itself, the client. In pairs with the Skerry of another clone, which is set up: on a machine that others use too, times say little and these hold. Prints a table.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { ModalClient, Sandbox } from 'modal';
import { z } from 'zod';
import { askServer } from '../cli/src/operator.ts';
import { startServer, type TestServer } from '../e2e/support/server.ts';
import { isFull, warmKinds } from '../e2e/support/warm-pool.ts';
import { CleanupScope } from '../server/src/platform/cleanup.ts';
import { delay } from '../server/src/platform/wait.ts';
import { createLogger } from '../server/src/telemetry/logger.ts';
import { commitOf } from './machine.ts';
import { benchImage, firstOutput, modalClient } from './modal-client.ts';
import { say, wholeNumber } from './page.ts';
import { during, less, type Reading, reading } from './processor-readings.ts';
import { summarize } from './statistics.ts';
import { execs, MiB, residentMiB, type StreamMeasure, streams } from './stream-contender.ts';

const LIFE_MS = 3_600_000;
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    runtime: { type: 'string', default: 'runc' },
    what: { type: 'string', default: 'create,burst,exec,crowd,stdout,stdin,fileWrite,fileRead' },
    beside: { type: 'string' },
    data: { type: 'string' },
    waiting: { type: 'string', default: '30' },
  },
});
const rounds = wholeNumber('rounds', values.rounds, 1000);
const waiting = wholeNumber('waiting', values.waiting, 200);
if (values.runtime !== 'runc' && values.runtime !== 'gvisor')
  throw new RangeError('--runtime is runc or gvisor');
const { runtime } = values;

interface Side {
  readonly name: string;
  readonly server: TestServer;
  readonly client: ModalClient;
  readonly app: Awaited<ReturnType<typeof benchImage>>['app'];
  readonly image: Awaited<ReturnType<typeof benchImage>>['image'];
  readonly idle: Sandbox;
}

type Taken = Record<string, Reading>;

const CREATES = 10;
const EXECS = 60;
const CROWD = 200;
const MIB = 50;

const takers: Record<string, (side: Side) => Promise<Taken>> = {
  create: async (side) => {
    const made: Sandbox[] = [];
    const create = await during(side, CREATES, async () => {
      for (let n = 0; n < CREATES; n++) {
        const sandbox = await side.client.sandboxes.create(side.app, side.image);
        made.push(sandbox);
        await firstOutput(sandbox);
      }
    });
    return { create, end: await ends(side, made) };
  },
  burst: async (side) => {
    const body = { image: side.image.imageId, count: waiting, forMs: LIFE_MS, blockNetwork: false };
    await askServer(side.server, side.server.dataDir, { method: 'POST', path: 'warm', body }, z.unknown());
    await untilFull(side.server);
    const made: Sandbox[] = [];
    const before = reading(side.server);
    const burst = await during(side, waiting, async () => {
      await Promise.all(
        Array.from({ length: waiting }, async () => {
          const sandbox = await side.client.sandboxes.create(side.app, side.image);
          made.push(sandbox);
          await firstOutput(sandbox);
        }),
      );
    });
    const end = await ends(side, made);
    await untilFull(side.server);
    const all = less(reading(side.server), before, waiting);
    return {
      'create, waiting, at once': burst,
      'end of many, beside refills': end,
      'and ended and made again': all,
    };
  },
  exec: async (side) => ({
    exec: await during(side, EXECS, () => execs(side.idle, EXECS, 1)),
  }),
  crowd: async (side) => ({
    'exec, 64 at a time': await during(side, CROWD, () => execs(side.idle, CROWD, 64)),
  }),
  stdout: (side) => moved(side, 'stdout', 'MiB of stdout'),
  stdin: (side) => moved(side, 'stdin', 'MiB of stdin'),
  fileWrite: (side) => moved(side, 'fileWrite', 'MiB written'),
  fileRead: (side) => moved(side, 'fileRead', 'MiB read'),
};

/** Asks so seldom that it costs the server nothing that would be seen. */
async function untilFull(server: TestServer): Promise<void> {
  while (!isFull(await warmKinds(server))) await delay(500);
}

/** Of those that end what their cgroups had is gone with them, so it is not counted here. */
async function ends(side: Side, made: readonly Sandbox[]): Promise<Reading> {
  const rest = [...made];
  return during(side, made.length, async () => {
    while (rest.length > 0) await Promise.all(rest.splice(0, 8).map((sandbox) => sandbox.terminate()));
  });
}

async function moved(side: Side, measure: StreamMeasure, title: string): Promise<Taken> {
  return { [title]: await during(side, MIB, () => streams[measure](side.idle, MIB * MiB)) };
}

await using cleanup = new CleanupScope(createLogger('error'));
const scratch = mkdtempSync(join(tmpdir(), 'bench-'));
cleanup.add('scratch directory', () => rmSync(scratch, { recursive: true, force: true }));

async function side(clone: string, number: number): Promise<Side> {
  const { startServer: start }: { startServer: typeof startServer } =
    number === 0 ? { startServer } : await import(pathToFileURL(join(clone, 'e2e/support/server.ts')).href);
  const dataDir = join(values.data ?? scratch, `${runtime}-${number}`);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const warmPool = values.what.includes('burst') ? waiting : 0;
  const flags = ['--log-level', 'warn', '--max-sandboxes', String(waiting * 3 + 20)];
  const server = await start({ runtime, warmPool, flags, dataDir });
  cleanup.add('server', () => server.stop());
  const client = modalClient(server);
  cleanup.add('client', () => client.close());
  const made = await benchImage(client);
  const idle = await client.sandboxes.create(made.app, made.image, { timeoutMs: LIFE_MS });
  await execs(idle, 20, 4);
  return {
    name: number === 0 ? 'this' : await commitOf(clone).catch(() => 'that'),
    server,
    client,
    ...made,
    idle,
  };
}

const sides = [
  await side('.', 0),
  ...(values.beside === undefined ? [] : [await side(resolve(values.beside), 1)]),
];
const samples = new Map<string, Reading[]>();
for (let round = 0; round <= rounds; round++) {
  say(`round ${round} of ${rounds}`);
  for (const what of values.what.split(',')) {
    const taker = takers[what];
    if (taker === undefined) throw new RangeError(`--what knows ${Object.keys(takers).join(', ')}`);
    for (const one of round % 2 === 0 ? sides : sides.toReversed()) {
      const taken = await taker(one);
      if (round === 0) continue;
      for (const [title, each] of Object.entries(taken)) {
        const id = `${title} | ${one.name}`;
        samples.set(id, [...(samples.get(id) ?? []), each]);
      }
    }
  }
  if (round > 0) print();
}
for (const { name, server } of sides)
  console.log(`The server of ${name} has ${residentMiB(server.pid).toFixed(0)} MiB.`);

print();

/** Of what was counted so far. */
function print(): void {
  const columns = ['server', 'launcher', 'commands', 'sandboxes', 'client', 'wall'] as const;
  console.log(`| ${runtime}, ms each | | ${columns.join(' | ')} |`);
  console.log(`| --- | --- | ${columns.map(() => '---:').join(' | ')} |`);
  for (const [id, all] of [...samples].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const cells = columns.map((column) => summarize(all.map((each) => each[column])).median.toFixed(2));
    console.log(`| ${id} | ${cells.join(' | ')} |`);
  }
}
