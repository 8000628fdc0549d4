/** Makes docs/scale.md: all of its numbers are reckoned or simulated when it is made. */
import { configSchema } from '../../server/src/config/config.ts';
import type { RuntimeName } from '../../server/src/engines/engine.ts';
import { loadPage } from '../result-page.ts';
import { latenciesOf } from '../simulate/latencies.ts';
import { outcomeTable } from '../simulate/outcome-table.ts';
import { randomOf } from '../simulate/random.ts';
import { type Machines, type ServerSettings, simulate } from '../simulate/simulation.ts';
import { type TraceName, traceNames, traceOf } from '../simulate/trace.ts';
import { MACHINE, PUBLISHED, pages, USE } from './inputs.ts';
import {
  type Bottleneck,
  clusterBottlenecks,
  common,
  kubernetes,
  local,
  localBottlenecks,
  type Need,
} from './needs.ts';

const SIZES = [1_000, 1_000_000];
const RUNTIMES = ['runc', 'gvisor'] as const;
/** What most of the page is reckoned for: what isolates untrusted programs. */
const RUNTIME: RuntimeName = 'gvisor';
const SEED = 1;
const WISH = { perSecond: 1, seconds: 600, crowd: 200, livesSeconds: 30, images: 3 };
const MACHINES: Machines = { count: 1, processors: 2, memoryMiB: 8_192, sandboxMiB: 32 };
const SETTINGS: ServerSettings = configSchema.parse({});

/** What is tried against a burst, beside what is usual. */
const HELPS: readonly (readonly [
  name: string,
  machines: Partial<Machines>,
  settings: Partial<ServerSettings>,
])[] = [
  ['as it is', {}, {}],
  ['`--warm-pool off`', {}, { warmPool: 0 }],
  ['`--warm-pool 64`', {}, { warmPool: 64 }],
  ['the same, 32 GiB', { memoryMiB: 32_768 }, { warmPool: 64 }],
  ['`--max-starting 16`', {}, { maxStarting: 16 }],
  ['8 processors', { processors: 8 }, {}],
  ['4 machines', { count: 4 }, {}],
];

const thousands = new Intl.NumberFormat('en-US');
const result = (page: string): string => `[${page}](../bench/results/${page})`;

/** The page as Markdown. */
export async function scalePage(): Promise<string> {
  const page = loadPage(pages.creates);
  const outcome = (
    name: TraceName,
    runtime: RuntimeName,
    machines: Partial<Machines> = {},
    settings: Partial<ServerSettings> = {},
  ) =>
    simulate(traceOf(name, WISH, randomOf(SEED)), {
      ...{ runtime, latencies: latenciesOf(page, runtime), seed: SEED },
      machines: { ...MACHINES, ...machines },
      settings: { ...SETTINGS, ...settings },
    });
  const rows = [];
  for (const name of traceNames)
    for (const runtime of RUNTIMES) rows.push({ name, runtime, outcome: await outcome(name, runtime) });
  const helped = [];
  for (const [name, machines, settings] of HELPS)
    helped.push({ name, runtime: RUNTIME, outcome: await outcome('burst', RUNTIME, machines, settings) });
  return `# What many sandboxes need

<!-- Made by \`npm run generate\` from bench/scale and bench/simulate; do not edit. -->

What sandboxes wait for when many are asked for, by a simulation, and what a thousand and a million of them take, by arithmetic on what was measured. Nobody has run a million.

## What sandboxes wait for

\`\`\`sh
npm run simulate
npm run simulate -- --trace burst --per-second 2 --warm-pool 64 --machines 4
\`\`\`

replays arrivals against the server's own admission, queue of starts and [warm pool](warm-pool.md), over an engine that does nothing but take time, by a clock that does nothing but count: ten minutes
take a second, and the same seed gives the same numbers anywhere. Starts take what ${result(pages.creates)} has, with straight lines between the fastest, the median and the slowest; those at once share
the processors evenly.

| trace | sandboxes are asked for |
| --- | --- |
| \`steady\` | \`--per-second\` on average, each independent of the others (a Poisson process) |
| \`burst\` | as many, each minute's within its first second |
| \`day\` | as many on average over a day, nobody at midnight and twice as many at noon; \`--seconds\` makes the day shorter |
| \`crowd\` | one, and a minute later \`--crowd\` within a second |
| a file | one JSON object a line: \`{"atMs": 1500, "image": "a", "livesMs": 30000, "token": "one"}\`, with any names; \`token\` may be left out. \`--write FILE\` writes what was simulated so |

Lives have a mean of \`--lives-seconds\`, and \`--images\` different ones are asked for, the second half as often as the first, the third a third as often. \`--runtime\`, \`--machines\` (each with a
server, in turn), \`--processors\`, \`--memory-mib\`, \`--sandbox-mib\`, \`--warm-pool\`, \`--max-starting\`, \`--max-sandboxes\`, \`--creates-per-minute\` and \`--seed\` say the rest.

Here ${WISH.perSecond} a second for ${WISH.seconds} s (the day too), or ${WISH.crowd} at once, each for ${WISH.livesSeconds} s, of ${WISH.images} images; ${MACHINES.processors} processors, ${MACHINES.memoryMiB / 1024} GiB, default settings. From the create to the first output, in milliseconds:

${outcomeTable(rows).join('\n')}

What helps against a burst, under ${RUNTIME}:

${outcomeTable(helped).join('\n')}

A larger pool is of use where its sixteenth of the memory is enough for it, and more starts at once are of none where they share two processors. The first burst finds nothing that waits whatever the pool:
these are the longest waits. A test holds the 99th percentiles of all four traces. Not in it: what sandboxes' own programs take
of the processors, what ends take, fetching and building images, and starts that are slower than the slowest measured.

## What a thousand and a million take

Assumed: each lives ${USE.livesSeconds / 60} minutes and has ${USE.execsPerMinute} execs a minute; its programs take ${USE.programsMiB} MiB; ${USE.images} images of ${USE.imageMiB} MiB are in use. Measured: ${result(pages.perSandbox)}, ${result(pages.streams)} (execs)
and ${result(pages.creates)}; ${RUNTIME}. Published: [Kubernetes on large clusters](${PUBLISHED.pods.source}), [etcd's limits](${PUBLISHED.etcdMiB.source}), and the defaults of
${[PUBLISHED.eventsLiveSeconds, PUBLISHED.schedulerPerSecond, PUBLISHED.nodePrefix].map(({ source }) => `[${source.split('/').at(-2)}](${source})`).join(', ')} and [the kubelet](${PUBLISHED.pullsPerSecond.source}).

Whatever runs them:

${needsTable(common(RUNTIME))}

On machines of their own ([architecture.md](architecture.md)):

${needsTable(local(RUNTIME))}

As Pods ([kubernetes.md](kubernetes.md)):

${needsTable(kubernetes())}

A node pulls ${PUBLISHED.pullsPerSecond.value} images a second at most unless it is told otherwise. Events are counted as the kubelet and the scheduler tell them of a Pod of ours, writes as the engine
and they must make them; neither was measured.

## What gives way first

The number of sandboxes, used as above, at which each bound is reached. One machine of ${MACHINE.processors} processors and ${MACHINE.memoryMiB / 1024} GiB with one server:

${bottleneckTable(localBottlenecks(RUNTIME))}

One cluster with one server:

${bottleneckTable(clusterBottlenecks(RUNTIME))}

Lives that are shorter make all bounds on creates and execs come sooner, in proportion. What is not bounded by any of these is the database: what SQLite takes per second was not measured.
`;
}

const needsTable = (needs: readonly Need[]): string =>
  [
    ['', ...SIZES.map((size) => thousands.format(size))],
    ['---', ...SIZES.map(() => '---:')],
    ...needs.map(({ what, amount }) => [what, ...SIZES.map(amount)]),
  ]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');

const bottleneckTable = (bottlenecks: readonly Bottleneck[]): string =>
  [
    ['sandboxes', 'what is reached', 'what lifts it'],
    ['---:', '---', '---'],
    ...bottlenecks.map(({ what, at, lift }) => [thousands.format(Math.round(at)), what, lift]),
  ]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
