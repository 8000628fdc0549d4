/**
 * `npm run bench:summary`: what the newest results of `bench`, `bench:arrivals`, `bench:streams`, `bench:growth` and `bench:gvisor` say of the aims that Skerry has set itself, as the table of `docs/performance.md`.
 * `--check` says whether that table is made of them.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { milliseconds } from './statistics.ts';

const RESULTS = join(import.meta.dirname, 'results');
const PAGE = join(import.meta.dirname, '../docs/performance.md');
const [BEGIN, END] = ['<!-- begin: npm run bench:summary -->', '<!-- end -->'];

const summarySchema = z.object({
  count: z.number(),
  min: z.number(),
  median: z.number(),
  p95: z.number(),
  p99: z.number(),
  max: z.number(),
});
const resultsSchema = z.record(z.string(), z.record(z.string(), summarySchema));

interface Aim {
  readonly what: string;
  /** Of the results' files, as in their names. */
  readonly kind: string;
  /** The table in it. */
  readonly title: string;
  readonly row: string;
  readonly figure?: 'median' | 'p95' | 'p99';
  readonly unit: string;
  /** At most so much; at least so much of what is better the larger it is. */
  readonly aim: number;
  readonly largerIsBetter?: true;
  /** Rows of the same table. */
  readonly beside: readonly string[];
}

const runtimes = ['runc', 'gvisor'] as const;

/** One for each runtime. */
const both = (
  aims: readonly [number, number],
  make: (runtime: (typeof runtimes)[number]) => Omit<Aim, 'aim'>,
): Aim[] => runtimes.map((runtime, index) => ({ ...make(runtime), aim: aims[index] ?? Number.NaN }));

const createAndExec =
  (what: string, title: string, suffix: string, beside: readonly string[]) => (runtime: string) => ({
    ...{
      what: `${what}, ${runtime}`,
      kind: 'create-and-exec',
      title,
      row: `skerry (${runtime})${suffix}`,
      unit: 'ms',
      beside,
    },
  });
const stream = (what: string, unit: string) => (runtime: string) => ({
  ...{
    what: `${what}, ${runtime}`,
    kind: 'streams',
    title: `${what}, ${unit}`,
    row: `skerry (${runtime})`,
    unit,
  },
  ...{ largerIsBetter: true as const, beside: ['docker', 'a server that does nothing'] },
});
const crowd = (suffix: string) => (runtime: string) => ({
  ...{ what: `100 creates at once, ${suffix}: p95, ${runtime}`, kind: 'arrivals', title: '100 at once' },
  ...{ row: `skerry (${runtime}), ${suffix}`, figure: 'p95' as const, unit: 'ms', beside: ['docker'] },
});

/** Those of issue 13 of the project, whose figures are of a machine with two processors. */
const aims: readonly Aim[] = [
  ...both(
    [8, 15],
    createAndExec('create to first output, warm', 'Create to first output', ', waiting', [
      'docker',
      'podman',
    ]),
  ),
  ...both(
    [45, 110],
    createAndExec('create to first output, cold', 'Create to first output', '', ['runc', 'runsc']),
  ),
  ...both([500, 500], crowd('100 waiting')),
  ...both([2500, 5000], crowd('cold')),
  ...both([60, 60], (runtime) => ({
    ...{ what: `5 creates a second for 60 s: p99, ${runtime}`, kind: 'arrivals' },
    title: '5 a second for 60 s, each ended when it can be used',
    ...{ row: `skerry (${runtime}), as it comes`, figure: 'p99', unit: 'ms', beside: ['docker'] },
  })),
  ...both([3, 9], createAndExec('exec round trip', 'Exec round trip', '', ['docker', 'runc'])),
  ...both([1200, 300], stream('execs, 64 at a time', '/s')),
  ...both([500, 500], stream('stdout', 'MB/s')),
  ...both([300, 300], stream('stdin', 'MB/s')),
  ...both([300, 300], stream('file written', 'MB/s')),
  ...both([300, 300], stream('file read', 'MB/s')),
  ...both([2, 15], (runtime) => ({
    ...{
      what: `memory of an idle sandbox, ${runtime}`,
      kind: `growth-${runtime}`,
      title: 'Each of them, MiB',
    },
    ...{ row: 'beside 250', unit: 'MiB', beside: [] },
  })),
  ...both([200, 200], (runtime) => ({
    ...{ what: `server beside 250 running, ${runtime}`, kind: `growth-${runtime}`, title: 'Server, MiB' },
    ...{ row: 'beside 250', unit: 'MiB', beside: ['beside 0'] },
  })),
];

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
const page = readFileSync(PAGE, 'utf8');
const [before = '', after = ''] = [page.split(BEGIN)[0], page.split(END).at(-1)];
const made = `${before}${BEGIN}\n\n${table()}\n\n${END}${after}`;
if (values.check) {
  if (made !== page)
    throw new Error('docs/performance.md is older than bench/results: npm run bench:summary');
} else {
  writeFileSync(PAGE, made);
}

function table(): string {
  const rows = aims.map((aim) => {
    const { name, rows } = newest(aim);
    const own = rows?.[aim.row];
    const unitless = (value: number) => `${milliseconds(value)} ${aim.unit}`;
    const aimed = `${aim.largerIsBetter ? '≥' : '≤'} ${aim.aim} ${aim.unit}`;
    if (!own) return [aim.what, aimed, 'not measured', '', ''];
    const value = own[aim.figure ?? 'median'];
    const met = aim.largerIsBetter ? value >= aim.aim : value <= aim.aim;
    const beside = aim.beside.flatMap((peer) => {
      const other = rows?.[peer]?.[aim.figure ?? 'median'];
      return other === undefined ? [] : [`${peer} ${unitless(other)} (× ${(value / other).toFixed(2)})`];
    });
    const spread = own.count > 1 ? ` (${milliseconds(own.min)} to ${milliseconds(own.max)})` : '';
    const figure = `${unitless(value)}${spread}`;
    return [
      aim.what,
      aimed,
      met ? `**${figure}**` : figure,
      beside.join(', '),
      `[${name.slice(0, 10)}](../bench/results/${name})`,
    ];
  });
  const header = ['', 'aim', 'measured (from to)', 'beside it, in the same run', 'all of it'];
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** The newest page of a kind, and its table. */
function newest({ kind, title }: Aim) {
  const file = readdirSync(RESULTS)
    .filter((name) => name.slice('2026-01-01-'.length) === `${kind}.json`)
    .sort()
    .at(-1);
  if (file === undefined) return { name: '', rows: undefined };
  const results = resultsSchema.parse(JSON.parse(readFileSync(join(RESULTS, file), 'utf8')));
  return { name: file.replace(/json$/, 'md'), rows: results[title] };
}
