import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import type { Sandbox } from '../../../sdk/src/index.ts';
import { CliError, ExitStatus } from '../cli-error.ts';
import { formatColumns } from '../columns.ts';
import { listing } from '../listing.ts';
import {
  addConnectionOptions,
  connectionOf,
  findSandbox,
  told,
  whichSandbox,
} from '../sandboxes/connection.ts';
import { formatTaken, NOTHING_RUNS, UsageMeter } from '../sandboxes/usage.ts';

/** Between the two looks that tell a part of a processor. */
const LOOK_MS = 500;

interface StatsFlags {
  readonly startup?: boolean;
  readonly json?: boolean;
}

/** `skerry stats`: what sandboxes take of the machine, or where the time of their starts went. */
export function statsCommand(): Command {
  const command = new Command('stats')
    .description('show what running sandboxes take of processor, memory and network: these, or all')
    .argument('[sandbox...]', whichSandbox)
    .option('--startup', 'show where the time of their starts went')
    .option('--json', 'print one JSON object a line');
  return addConnectionOptions(command).action((which: string[], { startup, json }: StatsFlags) =>
    told(async () => {
      const connection = connectionOf(command);
      if (startup && which.length === 0)
        throw new CliError('Of which? skerry stats --startup my-sandbox', ExitStatus.usage);
      const sandboxes = await Promise.all(which.map((each) => findSandbox(each, connection)));
      if (startup) {
        for (const sandbox of sandboxes) process.stdout.write(await startupOf(sandbox, json));
        return;
      }
      const meter = new UsageMeter(connection);
      await meter.look();
      await delay(LOOK_MS);
      const all = await meter.look();
      const idle = sandboxes.find(({ id }) => all.every((each) => each.id !== id));
      if (idle) throw new CliError(`${idle.id} is not running: it is ${idle.info.status}.`);
      const taken =
        which.length === 0 ? all : all.filter(({ id }) => sandboxes.some((each) => each.id === id));
      process.stdout.write(listing(taken, { json, none: NOTHING_RUNS, table: formatTaken }));
    }),
  );
}

/** The parts of a start go on side by side: they do not add up. */
async function startupOf(sandbox: Sandbox, json: boolean | undefined): Promise<string> {
  const startup = await sandbox.startup();
  if (json) return `${JSON.stringify({ id: sandbox.id, startup })}\n`;
  if (!startup) return `${sandbox.id}: nothing is known of its start.\n`;
  const { ms, waited, phases } = startup;
  const rows = Object.entries(phases)
    .filter(([, each]) => each > 0)
    .sort(([, one], [, other]) => other - one)
    .map(([name, each]) => [name, each.toFixed(1)]);
  const header = `${sandbox.id} started in ${ms.toFixed(1)} ms${waited ? ', with an instance that waited' : ''}\n`;
  return header + formatColumns([['PHASE', 'MS'], ...rows], 1);
}
