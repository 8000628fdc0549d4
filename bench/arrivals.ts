/**
 * `npm run bench:arrivals [-- --rounds N] [--at-once 100] [--rate 5] [--seconds 60]`: how long until what is asked for can be used, when others are asked for as well: all at once, one after each 200 ms,
 * and at a steady rate whether or not those before have come (an open loop). Skerry by the official JavaScript client, cold and with its warm pool, beside `docker run --detach` and `runc run`.
 * Prints tables and writes them to `results/`. For a quiet machine.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { askServer } from '../cli/src/operator.ts';
import { runtimesToTest } from '../e2e/support/runtimes.ts';
import { startServer } from '../e2e/support/server.ts';
import { isFull, untilWarm } from '../e2e/support/warm-pool.ts';
import { configSchema } from '../server/src/config/config.ts';
import { CleanupScope } from '../server/src/platform/cleanup.ts';
import { delay } from '../server/src/platform/wait.ts';
import { createLogger } from '../server/src/telemetry/logger.ts';
import { startDetached } from './container-contender.ts';
import { timed } from './contender.ts';
import { startDocker } from './docker-contender.ts';
import { describeMachine } from './machine.ts';
import { benchImage, firstOutput, modalClient } from './modal-client.ts';
import { startDetachedBy } from './oci-contender.ts';
import { notMeasured, picture, publish, say, today, wholeNumber } from './page.ts';
import { makeRootFilesystem } from './root-filesystem.ts';
import { milliseconds, type Summary, summarize } from './statistics.ts';

/** As ComputeSDK's benchmark has them come. */
const STAGGER_MS = 200;
const STAGGERED = 50;
/** How many are ended at once. */
const ENDS_AT_ONCE = 8;
const LIFE_MS = 3_600_000;
/** What a server has unless its operator says otherwise. */
const DEFAULT_POOL = configSchema.parse({}).warmPool;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    'at-once': { type: 'string', default: '100' },
    rate: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '60' },
  },
});
const rounds = wholeNumber('rounds', values.rounds, 100);
const atOnce = wholeNumber('at-once', values['at-once'], 200);
const rate = wholeNumber('rate', values.rate, 1000);
const seconds = wholeNumber('seconds', values.seconds, 3600);

/** Who is asked for many. */
interface Maker {
  /** Resolves when whatever is made ahead is there. */
  ready(): Promise<void>;
  /** Makes one that can be used. @returns what ends it */
  make(): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

const measures = {
  burst: `${atOnce} at once`,
  staggered: `${STAGGERED}, one after each ${STAGGER_MS} ms`,
  openLoop: `${rate} a second for ${seconds} s, each ended when it can be used`,
} as const;
type Measure = keyof typeof measures;

const results = new Map<string, Map<string, Summary>>(
  Object.values(measures).map((title) => [title, new Map()]),
);
const absent: string[] = [];

/** Starts one, takes those measures of it, and closes it. */
async function measure(name: string, wanted: readonly Measure[], start: () => Promise<Maker>): Promise<void> {
  let maker: Maker;
  try {
    maker = await start();
  } catch (error) {
    absent.push(`${name}: ${error instanceof Error ? error.message : error}`);
    return;
  }
  try {
    await (await maker.make())(); // the first of all warms up
    for (const which of wanted) {
      say(`${name}: ${measures[which]}`);
      results.get(measures[which])?.set(name, summarize(await takers[which](maker)));
    }
  } finally {
    await maker.close();
  }
}

const takers: Record<Measure, (maker: Maker) => Promise<number[]>> = {
  burst: async (maker) => {
    const all: number[] = [];
    for (let round = 0; round < rounds; round++) all.push(...(await arriving(maker, atOnce, 0)));
    return all;
  },
  staggered: (maker) => arriving(maker, STAGGERED, STAGGER_MS),
  openLoop: async (maker) => {
    await maker.ready();
    const took: Promise<number>[] = [];
    await inTime(rate * seconds, 1000 / rate, () => {
      took.push(awaited(made(maker).then(async ({ ms, end }) => end().then(() => ms))));
    });
    return Promise.all(took);
  },
};

/** How long each of them took; all stay until the last has come. */
async function arriving(maker: Maker, count: number, everyMs: number): Promise<number[]> {
  await maker.ready();
  const making: ReturnType<typeof made>[] = [];
  await inTime(count, everyMs, () => {
    making.push(awaited(made(maker)));
  });
  const all = await Promise.all(making);
  const ends = all.map(({ end }) => end);
  while (ends.length > 0) await Promise.all(ends.splice(0, ENDS_AT_ONCE).map((end) => end()));
  return all.map(({ ms }) => ms);
}

/** Whoever waits for all of them, which is later, is told of a failure. */
function awaited<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

async function made(maker: Maker): Promise<{ ms: number; end: () => Promise<void> }> {
  let end = async () => {};
  const ms = await timed(async () => {
    end = await maker.make();
  });
  return { ms, end };
}

/** Begins each when it is due, however long the call before took. */
async function inTime(count: number, everyMs: number, begin: () => void): Promise<void> {
  const started = performance.now();
  for (let number = 0; number < count; number++) {
    const early = started + number * everyMs - performance.now();
    if (early > 0) await delay(early);
    begin();
  }
}

/** @param kept whether as many wait as may, and not as many as are asked for */
async function skerry(
  runtime: 'runc' | 'gvisor',
  { waiting, kept = false }: { readonly waiting: number; readonly kept?: boolean },
): Promise<Maker> {
  const flags = ['--log-level', 'warn', '--max-sandboxes', String(2 * Math.max(atOnce, STAGGERED) + waiting)];
  const server = await startServer({ runtime, warmPool: waiting, flags, dataDir });
  const client = modalClient(server);
  try {
    const { app, image } = await benchImage(client);
    if (kept) {
      const body = { image: image.imageId, count: waiting, forMs: LIFE_MS, blockNetwork: false };
      await askServer(server, server.dataDir, { method: 'POST', path: 'warm', body }, z.unknown());
    }
    return {
      ready: async () => {
        if (waiting > 0) await untilWarm(server, isFull);
      },
      make: async () => {
        const sandbox = await client.sandboxes.create(app, image, { timeoutMs: LIFE_MS });
        await firstOutput(sandbox);
        return () => sandbox.terminate();
      },
      close: async () => {
        client.close();
        await server.stop();
      },
    };
  } catch (error) {
    client.close();
    await server.stop();
    throw error;
  }
}

await using cleanup = new CleanupScope(createLogger('error'));
const scratch = mkdtempSync(join(tmpdir(), 'bench-'));
cleanup.add('scratch directory', () => rmSync(scratch, { recursive: true, force: true }));
// One after the other on the same data: the image is made once.
const dataDir = join(scratch, 'data');
mkdirSync(dataDir, { mode: 0o700 });
const { dir: rootfs, tar } = await makeRootFilesystem(scratch);
const ready = async () => {};

await measure('runc', ['burst', 'staggered', 'openLoop'], async () => ({
  ...{ ready, close: ready },
  make: await startDetachedBy({
    name: 'runc',
    command: ['runc', '--root', join(scratch, 'runc')],
    rootfs,
    scratch,
  }),
}));
await measure('docker', ['burst', 'staggered', 'openLoop'], async () => {
  const docker = await startDocker({ tar, scratch });
  return { ready, make: () => startDetached(docker), close: () => docker.close() };
});
for (const { runtime, skip } of await runtimesToTest()) {
  if (skip !== false) {
    absent.push(`skerry (${runtime}): ${skip}`);
    continue;
  }
  const cold = `skerry (${runtime}), cold`;
  await measure(cold, ['burst', 'staggered'], () => skerry(runtime, { waiting: 0 }));
  const usual = `skerry (${runtime}), as it comes`;
  await measure(usual, ['burst', 'staggered', 'openLoop'], () => skerry(runtime, { waiting: DEFAULT_POOL }));
  const kept = `skerry (${runtime}), ${atOnce} waiting`;
  await measure(kept, ['burst'], () => skerry(runtime, { waiting: atOnce, kept: true }));
}
publish('arrivals', await report(), results);

async function report(): Promise<string> {
  const sections = [...results].flatMap(([title, rows]) => {
    const docker = rows.get('docker')?.p95;
    return [
      `## ${title}`,
      '',
      '| | p50 | p95 | p99 | slowest | p95 × docker |',
      '| --- | ---: | ---: | ---: | ---: | ---: |',
      ...[...rows].map(([name, { median, p95, p99, max }]) => {
        const cells = [median, p95, p99, max].map(milliseconds);
        return `| ${[name, ...cells, docker === undefined ? '' : (p95 / docker).toFixed(2)].join(' | ')} |`;
      }),
      '',
    ];
  });
  return [
    '# Many that are asked for',
    '',
    `Made by \`npm run bench:arrivals -- --rounds ${rounds} --at-once ${atOnce} --rate ${rate} --seconds ${seconds}\` on ${today()}.`,
    '',
    ...(await describeMachine()),
    '',
    'Milliseconds from the call until each can be used: of Skerry its first output has come, by the official JavaScript client; of Docker and runc the command that starts one detached has ended (network and',
    `limits: Docker's \`--network=none\`, runc's none). "As it comes" is a server as \`skerry up\` starts it, with a warm pool of at most ${DEFAULT_POOL} that its demand sizes.`,
    '',
    picture('arrivals'),
    '',
    ...sections,
    ...notMeasured(absent),
  ].join('\n');
}
