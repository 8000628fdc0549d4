import { Command } from 'commander';
import * as z from 'zod/mini';
import { CliError, ExitStatus } from '../cli-error.ts';
import { formatColumns } from '../columns.ts';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { askServer } from '../operator.ts';
import { requireRunningServer } from '../server-state.ts';
import { parseTime } from '../sizes.ts';

/** An image may have to be fetched or built first. */
const WARM_TIMEOUT_MS = 35 * 60_000;
const USUAL_TIME = '10m';

export const warmPoolSchema = z.object({
  kinds: z.array(
    z.object({
      label: z.string(),
      runtime: z.string(),
      memoryMiB: z.number(),
      milliCpu: z.number(),
      network: z.string(),
      waiting: z.number(),
      making: z.number(),
      wanted: z.number(),
      hits: z.number(),
      misses: z.number(),
    }),
  ),
  startups: z.array(
    z.object({
      runtime: z.string(),
      waited: z.boolean(),
      count: z.number(),
      ms: z.number(),
      phases: z.record(z.string(), z.number()),
    }),
  ),
});

const warmedSchema = z.object({ waiting: z.number(), bound: z.optional(z.enum(['pool', 'memory'])) });

interface WarmOptions {
  readonly count: string;
  readonly for: string;
  readonly blockNetwork?: boolean;
  readonly sandboxRuntime?: string;
  readonly json?: boolean;
}

/** `skerry warm`: exit status 1 when fewer wait than were asked for. */
export function warmCommand(): Command {
  const command = new Command('warm')
    .description('have sandboxes of an image wait, so that whoever asks next has one at once')
    .argument('<image>', 'id of an image (im-...), or the name of one of a registry')
    .option('-n, --count <number>', 'how many', '1')
    .option('--for <time>', 'for how long they are made anew when they are taken: 90m, 12h, 7d', USUAL_TIME)
    .option('--block-network', 'for sandboxes without a network, or with a list of what they may reach')
    .option('--sandbox-runtime <runtime>', 'what they run under, for those that name one: gvisor, runc')
    .option('--json', 'print one JSON object');
  return addDataDirOptions(command).action(async (image: string, options: WarmOptions) => {
    const dataDir = dataDirOf(command);
    const count = Number(options.count);
    if (!Number.isInteger(count) || count < 1)
      throw new CliError(`'${options.count}' is no number of sandboxes.`, ExitStatus.usage);
    const forMs = parseTime(options.for);
    if (forMs === undefined)
      throw new CliError(`'${options.for}' is no time: write 90m, 12h or 7d.`, ExitStatus.usage);
    const body = {
      ...{ image, count, forMs, blockNetwork: options.blockNetwork === true },
      ...(options.sandboxRuntime !== undefined && { runtime: options.sandboxRuntime }),
    };
    const request = { method: 'POST', path: 'warm', body, timeoutMs: WARM_TIMEOUT_MS } as const;
    const warmed = await askServer(requireRunningServer(dataDir), dataDir, request, warmedSchema);
    process.stdout.write(options.json ? `${JSON.stringify(warmed)}\n` : describeWarmed(warmed, count));
    if (warmed.waiting < count) process.exitCode = ExitStatus.failed;
  });
}

function describeWarmed({ waiting, bound }: z.infer<typeof warmedSchema>, count: number): string {
  const why = bound && {
    pool: 'others wait as well, and no more may (--warm-pool)',
    memory: 'the machine has no more memory for it',
  };
  return bound && why ? `${waiting} of ${count} wait: ${why[bound]}.\n` : `${waiting} wait.\n`;
}

/** A line for each kind, and one for what starts of each took; nothing where there is none. */
export const describeWarmPool = ({ kinds, startups }: z.infer<typeof warmPoolSchema>): string =>
  describeKinds(kinds) + describeStartups(startups);

function describeStartups(startups: z.infer<typeof warmPoolSchema>['startups']): string {
  if (startups.length === 0) return '';
  const rows = startups.map(({ runtime, waited, count, ms, phases }) => [
    ...[runtime, waited ? 'waited' : 'made anew', String(count), String(ms)],
    Object.entries(phases)
      .filter(([, each]) => each > 0)
      .map(([name, each]) => `${name} ${each}`)
      .join(', '),
  ]);
  return `\n${formatColumns([['LAST STARTS', '', 'COUNT', 'MS', 'OF WHICH'], ...rows])}`;
}

function describeKinds(kinds: z.infer<typeof warmPoolSchema>['kinds']): string {
  if (kinds.length === 0) return '';
  const rows = kinds.map((kind) => [
    ...[kind.label, kind.runtime, kind.network, `${kind.memoryMiB} MiB`],
    ...[kind.waiting, kind.making, kind.wanted, kind.hits, kind.misses].map(String),
  ]);
  const header = [
    'WAITING SANDBOXES OF',
    'RUNTIME',
    'NETWORK',
    'MEMORY',
    'READY',
    'MADE',
    'WANTED',
    'TAKEN',
    'MISSED',
  ];
  return `\n${formatColumns([header, ...rows], 4)}`;
}
