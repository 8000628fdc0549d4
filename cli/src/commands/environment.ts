import { Command } from 'commander';
import * as z from 'zod/mini';
import { ask } from '../ask.ts';
import { CliError, ExitStatus } from '../cli-error.ts';
import { formatColumns } from '../columns.ts';
import { addDataDirOptions } from '../data-dir.ts';
import { listing } from '../listing.ts';
import {
  addQuotaOptions,
  describeQuotas,
  type QuotaFlags,
  quotasOf,
  quotasSchema,
  takenSchema,
} from '../quotas.ts';
import { oneObject, tell } from '../tell.ts';

const listSchema = z.object({
  environments: z.array(
    z.object({
      name: z.string(),
      createdAtMs: z.number(),
      isDefault: z.boolean(),
      quotas: quotasSchema,
      taken: takenSchema,
    }),
  ),
});
type Listed = z.infer<typeof listSchema>['environments'][number];

interface QuotaCommandFlags extends QuotaFlags {
  /** What `--no-quotas` makes false. */
  readonly quotas: boolean;
  readonly json?: boolean;
}

/** `skerry environment`: what apps, secrets and volumes are grouped under; clients make and remove them. */
export function environmentCommand(): Command {
  const group = new Command('environment').description(
    'list environments, and bound what the sandboxes of one take together',
  );

  const list = new Command('list')
    .description('list the environments, and what the sandboxes of each take of its quotas')
    .option('--json', 'print one JSON object a line');
  addDataDirOptions(list).action(async ({ json }: { readonly json?: boolean }) => {
    const { environments } = await ask(list, { method: 'GET', path: 'environments' }, listSchema);
    process.stdout.write(
      listing(environments.map(shown), { json, none: 'There is none.\n', table: tableOf }),
    );
  });

  const quota = new Command('quota')
    .description(
      'bound what the sandboxes of an environment take together, in the place of what bounded them',
    )
    .argument('<environment>', 'its name');
  addQuotaOptions(quota)
    .option('--no-quotas', 'nothing bounds them any more')
    .option(...oneObject);
  addDataDirOptions(quota).action(async (name: string, flags: QuotaCommandFlags) => {
    const body = quotasOf(flags);
    if (flags.quotas === (Object.keys(body).length === 0)) {
      const said = 'Name what bounds its sandboxes, such as --max-sandboxes 5, or --no-quotas.';
      throw new CliError(said, ExitStatus.usage);
    }
    const path = `environments/${encodeURIComponent(name)}/quotas`;
    await ask(quota, { method: 'PUT', path, body }, z.unknown());
    tell({ name, quotas: body }, name, flags);
  });

  return group.addCommand(list).addCommand(quota);
}

const shown = ({ createdAtMs, ...environment }: Listed) => ({
  ...environment,
  createdAt: new Date(createdAtMs).toISOString(),
});

const tableOf = (environments: readonly ReturnType<typeof shown>[]): string =>
  formatColumns([
    ['ENVIRONMENT', 'CREATED', 'SANDBOXES', 'TAKEN OF QUOTAS'],
    ...environments.map(({ name, createdAt, quotas, taken }) => [
      ...[name, createdAt, String(taken.sandboxes), describeQuotas({ quotas, taken })],
    ]),
  ]);
