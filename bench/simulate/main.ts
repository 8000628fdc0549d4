/**
 * `npm run simulate [-- --trace steady|burst|day|crowd|FILE ...]`: how long sandboxes that are asked for so would wait, by the server's own scheduler. docs/scale.md has what it is and what it
 * leaves out. Prints a table; takes seconds, and no machine.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { configSchema } from '../../server/src/config/config.ts';
import { say } from '../page.ts';
import { loadPage, newestPage } from '../result-page.ts';
import { latenciesOf } from './latencies.ts';
import { outcomeTable, type Row } from './outcome-table.ts';
import { randomOf } from './random.ts';
import { simulate } from './simulation.ts';
import { type Arrival, isTraceName, readTrace, traceNames, traceOf, writeTrace } from './trace.ts';

/** More than a simulation ends with in an hour. */
const MOST = 1_000_000;
/** A trace's length unless one was named; a day has its own. */
const [TEN_MINUTES_S, DAY_S] = [600, 86_400];

const settings = configSchema.parse({});
const count = z.coerce.number().int().min(1).max(MOST);
const countOrNone = count.min(0);
const amount = z.coerce.number().positive().max(MOST);
const list = (text: string): string[] => text.split(',');

const optionsSchema = z.object({
  trace: z.string().default(traceNames.join(',')).transform(list),
  'per-second': amount.default(1),
  seconds: count.optional(),
  crowd: count.default(200),
  'lives-seconds': amount.default(30),
  images: count.default(3),
  write: z.string().optional(),
  runtime: z
    .string()
    .default('runc,gvisor')
    .transform(list)
    .pipe(z.array(z.enum(['runc', 'gvisor']))),
  machines: count.default(1),
  processors: count.default(2),
  'memory-mib': count.default(8192),
  'sandbox-mib': countOrNone.default(32),
  'warm-pool': z
    .literal('off')
    .transform(() => 0)
    .or(countOrNone)
    .default(settings.warmPool),
  'max-starting': count.default(settings.maxStarting),
  'max-sandboxes': count.default(settings.maxSandboxes),
  'creates-per-minute': countOrNone.default(settings.tokenCreatesPerMinute),
  page: z.string().default(() => newestPage('create-and-exec')),
  seed: count.default(1),
});
type Options = z.infer<typeof optionsSchema>;

try {
  process.stdout.write(`${outcomeTable(await outcomes(readOptions())).join('\n')}\n`);
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}

function readOptions(): Options {
  const names = Object.keys(optionsSchema.shape);
  const options = Object.fromEntries(names.map((name) => [name, { type: 'string' } as const]));
  const parsed = optionsSchema.safeParse(parseArgs({ options }).values);
  if (parsed.success) return parsed.data;
  throw new Error(z.prettifyError(parsed.error));
}

async function outcomes(options: Options): Promise<Row[]> {
  const traces = options.trace.map((name) => ({ name, arrivals: arrivalsOf(name, options) }));
  if (options.write !== undefined) {
    writeFileSync(options.write, traces.map(({ arrivals }) => writeTrace(arrivals)).join(''));
    say(`written to ${options.write}`);
  }
  const page = loadPage(options.page);
  const rows: Row[] = [];
  for (const { name, arrivals } of traces) {
    for (const runtime of options.runtime) {
      const outcome = await simulate(arrivals, {
        ...{ runtime, latencies: latenciesOf(page, runtime), seed: options.seed },
        machines: {
          ...{ count: options.machines, processors: options.processors },
          ...{ memoryMiB: options['memory-mib'], sandboxMiB: options['sandbox-mib'] },
        },
        settings: {
          ...settings,
          ...{ warmPool: options['warm-pool'], maxStarting: options['max-starting'] },
          maxSandboxes: options['max-sandboxes'],
          tokenCreatesPerMinute: options['creates-per-minute'],
        },
      });
      rows.push({ name, runtime, outcome });
    }
  }
  return rows;
}

function arrivalsOf(name: string, options: Options): Arrival[] {
  if (!isTraceName(name)) return readTrace(readFileSync(name, 'utf8'));
  const { seconds = name === 'day' ? DAY_S : TEN_MINUTES_S, crowd, images, seed } = options;
  const rates = { perSecond: options['per-second'], livesSeconds: options['lives-seconds'] };
  return traceOf(name, { seconds, crowd, images, ...rates }, randomOf(seed));
}
