import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { parseEnv } from 'node:util';
import { Command } from 'commander';
import { type SecretInfo, secrets } from '../../../sdk/src/index.ts';
import { CliError, ExitStatus } from '../cli-error.ts';
import { formatColumns } from '../columns.ts';
import { listing } from '../listing.ts';
import { printable } from '../printable.ts';
import { addConnectionOptions, connectionOf, told } from '../sandboxes/connection.ts';
import { variables } from '../sandboxes/create-options.ts';

interface CreateFlags {
  readonly fromFile?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** `skerry secret`: variables that are stored by name, whose values never come out again but in sandboxes. */
export function secretCommand(): Command {
  const group = new Command('secret').description(
    'list, store and remove secrets: variables for sandboxes, whose values are never shown',
  );

  const list = new Command('list')
    .description('list the secrets, newest first: names of their variables, never values')
    .option('--json', 'print one JSON object a line');
  addConnectionOptions(list).action(({ json }: { json?: boolean }) =>
    told(async () => {
      const all = await Array.fromAsync(secrets.list(connectionOf(list)));
      process.stdout.write(listing(all, { json, none: 'There is no secret.\n', table: formatSecrets }));
    }),
  );

  const create = new Command('create')
    .description('store variables under a name')
    .argument('<secret>', 'its name')
    .argument(
      '[variables...]',
      'NAME=value, which others on this machine may see in its list of processes; NAME alone takes it from here',
    )
    // Not --env-file, which Node takes for its own wherever it stands.
    .option('--from-file <file>', 'variables of a file, as NAME=value lines; - for what is piped in')
    .option('--force', 'in the place of the secret of that name')
    .option('--json', 'print one JSON object: no values');
  addConnectionOptions(create).action(
    (name: string, given: string[], { fromFile, force, json }: CreateFlags) =>
      told(async () => {
        const env = { ...(fromFile !== undefined && (await readVariables(fromFile))), ...variables(given) };
        if (Object.keys(env).length === 0) {
          throw new CliError(
            `Say which variables: skerry secret create ${name} NAME, or --from-file.`,
            ExitStatus.usage,
          );
        }
        const connection = connectionOf(create);
        if (!force) {
          for await (const each of secrets.list(connection)) {
            if (each.name === name)
              throw new CliError(`There is a secret ${name}: --force puts this in its place.`);
          }
        }
        const stored = await secrets.put(name, env, connection);
        process.stdout.write(`${json ? JSON.stringify(stored) : stored.name}\n`);
      }),
  );

  const remove = new Command('delete')
    .description('forget secrets; sandboxes that were made with one keep what they have')
    .argument('<secret...>', 'their names');
  addConnectionOptions(remove).action((names: string[]) =>
    told(async () => {
      for (const name of names) await secrets.delete(name, connectionOf(remove));
    }),
  );
  return group.addCommand(list).addCommand(create).addCommand(remove);
}

const formatSecrets = (all: readonly SecretInfo[]): string =>
  formatColumns([
    ['SECRET', 'CREATED', 'USED', 'VARIABLES'],
    ...all.map(({ name, keys, createdAt, lastUsedAt }) => [
      ...[printable(name), createdAt, lastUsedAt ?? 'never'],
      keys.join(' '),
    ]),
  ]);

/** @throws CliError */
async function readVariables(file: string): Promise<Record<string, string>> {
  try {
    const content = file === '-' ? await text(process.stdin) : readFileSync(file, 'utf8');
    return parseEnv(content) as Record<string, string>; // no value is undefined
  } catch (error) {
    throw new CliError(`${file} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
}
