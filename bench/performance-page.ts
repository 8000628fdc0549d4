/**
 * Makes the table of docs/performance.md: what the newest results of `npm run bench`, `bench:arrivals`, `bench:streams` and `bench:growth` say of the aims that Skerry has set itself.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { loadPage, newestOf } from './result-page.ts';
import { milliseconds } from './statistics.ts';

const PAGE = join(import.meta.dirname, '../docs/performance.md');
const [BEGIN, END] = ['<!-- begin: made by npm run generate -->', '<!-- end -->'];

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
    ...{ what: `${what}, ${runtime}`, kind: 'create-and-exec', title },
    ...{ row: `skerry (${runtime})${suffix}`, unit: 'ms', beside },
  });
const stream = (what: string, unit: string) => (runtime: string) => ({
  ...{ what: `${what}, ${runtime}`, kind: 'streams', title: `${what}, ${unit}` },
  ...{ row: `skerry (${runtime})`, unit },
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
    ...{ what: `memory of an idle sandbox, ${runtime}`, kind: `growth-${runtime}` },
    ...{ title: 'Each of them, MiB', row: 'beside 250', unit: 'MiB', beside: [] },
  })),
  ...both([200, 200], (runtime) => ({
    ...{ what: `server beside 250 running, ${runtime}`, kind: `growth-${runtime}`, title: 'Server, MiB' },
    ...{ row: 'beside 250', unit: 'MiB', beside: ['beside 0'] },
  })),
  {
    ...{ what: 'list of 10,000 that ended', kind: 'lists', title: 'A list of 10000 that ended' },
    ...{ row: 'skerry', unit: 'ms', aim: 200, beside: [] },
  },
];

/** `docs/performance.md` as it is, with the table that the newest results come to. */
export function performancePage(): string {
  const page = readFileSync(PAGE, 'utf8');
  const [before, after] = [page.split(BEGIN)[0], page.split(END).at(-1)];
  return `${before}${BEGIN}\n\n${table()}\n\n${END}${after}`;
}

function table(): string {
  const rows = aims.map((aim) => {
    const { name, rows } = newest(aim);
    const own = rows?.[aim.row];
    const withUnit = (value: number) => `${milliseconds(value)} ${aim.unit}`;
    const aimed = `${aim.largerIsBetter ? '≥' : '≤'} ${aim.aim} ${aim.unit}`;
    if (!own) return [aim.what, aimed, 'not measured', '', ''];
    const value = own[aim.figure ?? 'median'];
    const met = aim.largerIsBetter ? value >= aim.aim : value <= aim.aim;
    const beside = aim.beside.flatMap((peer) => {
      const other = rows?.[peer]?.[aim.figure ?? 'median'];
      return other === undefined ? [] : [`${peer} ${withUnit(other)} (× ${(value / other).toFixed(2)})`];
    });
    const spread = own.count > 1 ? ` (${milliseconds(own.min)} to ${milliseconds(own.max)})` : '';
    const figure = `${withUnit(value)}${spread}`;
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
  const file = newestOf(kind, 'json');
  if (file === undefined) return { name: '', rows: undefined };
  const results = resultsSchema.parse(JSON.parse(loadPage(file)));
  return { name: file.replace(/json$/, 'md'), rows: results[title] };
}
