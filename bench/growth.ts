/**
 * `npm run bench:growth [-- --runtime runc|gvisor] [--others 0,250,500]`: what a create and an exec take beside others that idle. By the official JavaScript client. Prints a page and writes it to `results/`. For a quiet machine.
 */
import { parseArgs } from 'node:util';
import type { App, Image, Sandbox } from 'modal';
import { startServer, type TestServer } from '../e2e/support/server.ts';
import { timed } from './contender.ts';
import { describeMachine } from './machine.ts';
import { modalClient } from './modal-client.ts';
import { publish, say, today } from './page.ts';
import { milliseconds, quantile } from './statistics.ts';
import { residentMiB } from './stream-contender.ts';

const IDLE_LIFE_MS = 6 * 3_600_000;
/** Of each, medians are told. */
const TIMES = 15;
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
    '## Beside others that idle',
    '',
    '| others | create to first output, cold | exec round trip | server (MiB) |',
    '| ---: | ---: | ---: | ---: |',
    ...beside,
    '',
  ].join('\n'),
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
    const app: App = await client.apps.fromName('bench', { createIfMissing: true });
    const image: Image = await client.images.fromRegistry('debian:bookworm-slim').build(app);
    const create = () => client.sandboxes.create(app, image, { timeoutMs: IDLE_LIFE_MS });
    return await work({ server, create });
  } finally {
    client.close();
    await server.stop();
  }
}

async function besideOthers({ server, create }: Driven): Promise<string[]> {
  const idle: Sandbox[] = [];
  const mine = await create();
  const rows: string[] = [];
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
    const cells = [count, milliseconds(quantile(creates, 0.5)), milliseconds(quantile(execs, 0.5))];
    rows.push(`| ${[...cells, residentMiB(server.pid).toFixed(0)].join(' | ')} |`);
    say(rows.at(-1) ?? '');
  }
  while (idle.length > 0) await Promise.all(idle.splice(0, AT_ONCE).map((sandbox) => sandbox.terminate()));
  return rows;
}

/** One whose first output has come. */
async function running(create: () => Promise<Sandbox>): Promise<Sandbox> {
  const sandbox = await create();
  const process = await sandbox.exec(['echo', 'hello']);
  const { value } = await process.stdout.getReader().read();
  if (!value?.startsWith('hello')) throw new Error(`not the output that was expected: ${value}`);
  return sandbox;
}

async function repeated(once: () => Promise<number>): Promise<number[]> {
  const all: number[] = [];
  for (let time = 0; time < TIMES; time++) all.push(await once());
  return all;
}
