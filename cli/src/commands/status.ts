import { Command } from 'commander';
import { z } from 'zod';
import { findResolver } from '../../../server/src/operator.ts';
import { CliError, ExitStatus } from '../cli-error.ts';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { askServer } from '../operator.ts';
import { findRunningServer, logFile } from '../server-state.ts';
import { isInstalled, unitOf } from '../systemd.ts';
import { describeWarmPool, warmPoolSchema } from './warm.ts';

const HEALTH_TIMEOUT_MS = 5_000;

const healthSchema = z.object({
  status: z.string(),
  version: z.string(),
  instance: z.string(),
  sandboxes: z.int().nonnegative(),
});

/** One of an earlier version says nothing of them. */
const recordsSchema = z.object({
  /** Where several share the work. */
  servers: z
    .array(
      z.object({
        place: z.string().optional(),
        leads: z.boolean(),
        lives: z.boolean(),
        sandboxes: z.number(),
      }),
    )
    .optional(),
  records: z.object({
    ...{ database: z.string(), place: z.string(), version: z.string().optional() },
    ...{ roundTripMs: z.number().optional(), ok: z.boolean(), found: z.string(), remedy: z.string() },
  }),
});
type Records = z.infer<typeof recordsSchema>['records'];
type Server = NonNullable<z.infer<typeof recordsSchema>['servers']>[number];

/** `skerry status`: exit status 0 when the server runs and answers, 3 when it does not run. */
export function statusCommand(): Command {
  const command = new Command('status')
    .description('tell whether the server runs, where, and how many sandboxes it has')
    .option('--json', 'print one JSON object');
  return addDataDirOptions(command).action(async (options: { json?: boolean }) => {
    const dataDir = dataDirOf(command);
    const state = findRunningServer(dataDir);
    if (!state) {
      if (options.json) process.stdout.write(`${JSON.stringify({ running: false, dataDir })}\n`);
      throw new CliError(`Not running (data directory ${dataDir}).`, ExitStatus.notRunning);
    }
    const [health, resolver, warm, records] = await Promise.all([
      fetchHealth(state.url),
      findResolver(dataDir),
      // One of an earlier version has none.
      askServer(state, dataDir, { method: 'GET', path: 'warm' }, warmPoolSchema).catch(() => ({
        kinds: [],
        startups: [],
      })),
      askServer(state, dataDir, { method: 'GET', path: 'records' }, recordsSchema).catch(() => undefined),
    ]);
    const { url, pid, instance, isolation, version, startedAt } = state;
    if (options.json) {
      const { sandboxes } = health;
      const report = {
        ...{ running: true, url, pid, instance, isolation, version, startedAt, sandboxes, dataDir },
        resolver: resolver ?? null,
        records: records?.records ?? null,
        servers: records?.servers ?? null,
        warm: warm.kinds,
        startups: warm.startups,
      };
      process.stdout.write(`${JSON.stringify(report)}\n`);
      return;
    }
    const rows = [
      ['Skerry', `${version}, running at ${url}`],
      ['process', `${pid}, since ${startedAt}`],
      ['sandboxes', String(health.sandboxes)],
      ['resolver', resolver === undefined ? 'not running: `skerry doctor` says more' : `process ${resolver}`],
      ['isolation', isolation ?? 'unknown'],
      ['instance', instance],
      ['data', dataDir],
      ...describeRecords(records?.records),
      ...describeServers(records?.servers ?? []),
      ['log', logFile(dataDir)],
      ...(isInstalled(dataDir) ? [['service', unitOf(dataDir)] as const] : []),
    ] as const;
    for (const [name, value] of rows) process.stdout.write(`${name.padEnd(10)} ${value}\n`);
    process.stdout.write(describeWarmPool(warm));
  });
}

function describeRecords(records: Records | undefined): (readonly [string, string])[] {
  if (!records) return [];
  const { ok, found, remedy } = records;
  return ok
    ? [['records', found]]
    : [
        ['records', `! ${found}`],
        ['', `→ ${remedy}`],
      ];
}

/** All that share the work, the one that leads first. */
export const describeServers = (servers: readonly Server[]): (readonly [string, string])[] =>
  servers.map((server, index) => [index === 0 ? 'servers' : '', describeServer(server)]);

function describeServer({ place = 'one that stops', leads, lives, sandboxes }: Server): string {
  const keeps = `keeps ${sandboxes} sandbox${sandboxes === 1 ? '' : 'es'}`;
  if (!lives) return `! ${place} is lost; it ${keeps} until the one that leads takes over`;
  return leads ? `${place} leads, and ${keeps}` : `${place} ${keeps}`;
}

/** What the server says of itself. @throws CliError when it does not answer */
export async function fetchHealth(url: string): Promise<z.infer<typeof healthSchema>> {
  try {
    const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS) });
    return healthSchema.parse(await response.json());
  } catch (error) {
    const why =
      error instanceof Error ? (error.cause instanceof Error ? error.cause.message : error.message) : error;
    throw new CliError(`The server at ${url} does not answer: ${why}`);
  }
}
