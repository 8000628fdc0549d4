/**
 * `npm run bench:growth [-- --runtime runc|gvisor] [--others 0,250,500]`: what a create and an exec take beside others that idle. By the official JavaScript client. Prints a page and writes it to `results/`. For a quiet machine.
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import type { Sandbox } from 'modal';
import { startServer, type TestServer } from '../e2e/support/server.ts';
import { machineMemory } from '../server/src/platform/machine-memory.ts';
import { delay } from '../server/src/platform/wait.ts';
import { timed } from './contender.ts';
import { describeMachine } from './machine.ts';
import { benchImage, firstOutput, modalClient } from './modal-client.ts';
import { picture, publish, say, today } from './page.ts';
import { milliseconds, quantile, type Summary, summarize } from './statistics.ts';
import { residentMiB } from './stream-contender.ts';

const IDLE_LIFE_MS = 6 * 3_600_000;
/** Of each, medians are told. */
const TIMES = 15;
/** How long nobody asks for anything before it is looked at what is in use. */
const REST_MS = 10_000;
/** How many are made and ended at once. */
const AT_ONCE = 8;

const { values } = parseArgs({
  options: {
    runtime: { type: 'string', default: 'runc' },
    others: { type: 'string', default: '0,250,500' },
  },
});
const runtime = values.runtime === 'gvisor' ? 'gvisor' : 'runc';
const others = values.others.split(',').map(Number);

const results = new Map<string, Map<string, Summary>>();
const beside = await withServer(besideOthers);
publish(
  `growth-${runtime}`,
  [
    `# Growth, under ${runtime}`,
    '',
    `Made by \`npm run bench:growth -- --runtime ${runtime} --others ${values.others}\` on ${today()}. Milliseconds, by the official`,
    `JavaScript client; medians of ${TIMES}.`,
    '',
    ...(await describeMachine()),
    '',
    picture(`growth-${runtime}`),
    '',
    '## Beside others that idle',
    '',
    '| others | create to first output, cold | exec round trip | server (MiB) | each of them (MiB) | each of them (% of a processor) |',
    '| ---: | ---: | ---: | ---: | ---: | ---: |',
    ...beside,
    '',
    `What each takes is what the whole machine has less of than before the first, and what all of it does in ${REST_MS / 1000} s in which nobody asks for anything, the server included.`,
    '',
  ].join('\n'),
  results,
);

interface Driven {
  readonly server: TestServer;
  readonly create: () => Promise<Sandbox>;
}

async function withServer<T>(work: (driven: Driven) => Promise<T>): Promise<T> {
  const flags = ['--log-level', 'warn', '--max-sandboxes', String(Math.max(...others) + 2)];
  const server = await startServer({ runtime, freshData: true, flags });
  const client = modalClient(server);
  try {
    const { app, image } = await benchImage(client);
    const create = () => client.sandboxes.create(app, image, { timeoutMs: IDLE_LIFE_MS });
    return await work({ server, create });
  } finally {
    client.close();
    await server.stop();
  }
}

async function besideOthers({ server, create }: Driven): Promise<string[]> {
  const idle: Sandbox[] = [];
  const mine = await running(create);
  const rows: string[] = [];
  const before = await atRest();
  for (const count of others.toSorted((one, other) => one - other)) {
    say(`beside ${count}`);
    while (idle.length < count) {
      const missing = Math.min(AT_ONCE, count - idle.length);
      idle.push(...(await Promise.all(Array.from({ length: missing }, () => running(create)))));
    }
    const creates = await repeated(async () => {
      let sandbox: Sandbox | undefined;
      const ms = await timed(async () => {
        sandbox = await running(create);
      });
      await sandbox?.terminate();
      return ms;
    });
    const execs = await repeated(() => timed(async () => (await mine.exec(['true'])).wait()));
    const after = await atRest();
    const each = count === 0 ? undefined : (before.freeMiB - after.freeMiB) / count;
    const share = count === 0 ? undefined : Math.max(0, after.busy - before.busy) / count;
    const serverMiB = residentMiB(server.pid);
    note('Create to first output, cold', count, creates);
    note('Exec round trip', count, execs);
    note('Server, MiB', count, [serverMiB]);
    if (each !== undefined) note('Each of them, MiB', count, [each]);
    const cells = [
      count,
      milliseconds(quantile(creates, 0.5)),
      milliseconds(quantile(execs, 0.5)),
      serverMiB.toFixed(0),
      each?.toFixed(1) ?? '',
      share === undefined ? '' : (100 * share).toFixed(3),
    ];
    rows.push(`| ${cells.join(' | ')} |`);
    say(rows.at(-1) ?? '');
  }
  while (idle.length > 0) await Promise.all(idle.splice(0, AT_ONCE).map((sandbox) => sandbox.terminate()));
  return rows;
}

function note(title: string, count: number, samples: readonly number[]): void {
  const rows = results.get(title) ?? new Map<string, Summary>();
  results.set(title, rows.set(`beside ${count}`, summarize(samples)));
}

/** What the machine has free, and how many of its processors' seconds go by in a second, while nobody asks for anything. */
async function atRest(): Promise<{ readonly freeMiB: number; readonly busy: number }> {
  const from = busySeconds();
  await delay(REST_MS);
  const { availableMiB } = await machineMemory();
  return { freeMiB: availableMiB, busy: (busySeconds() - from) / (REST_MS / 1000) };
}

/** How long all processors of the machine have been at work. */
function busySeconds(): number {
  return cpus().reduce(
    (sum, { times: { user, nice, sys, irq } }) => sum + (user + nice + sys + irq) / 1000,
    0,
  );
}

/** One whose first output has come. */
async function running(create: () => Promise<Sandbox>): Promise<Sandbox> {
  const sandbox = await create();
  await firstOutput(sandbox);
  return sandbox;
}

async function repeated(once: () => Promise<number>): Promise<number[]> {
  const all: number[] = [];
  for (let time = 0; time < TIMES; time++) all.push(await once());
  return all;
}
