import { Command } from 'commander';
import { Volume, type VolumeFile, type VolumeInfo } from '../../../sdk/src/index.ts';
import { formatColumns } from '../columns.ts';
import { listing } from '../listing.ts';
import { printable } from '../printable.ts';
import { addConnectionOptions, connectionOf, told } from '../sandboxes/connection.ts';
import { getFromVolume, putIntoVolume } from '../sandboxes/volume-copy.ts';
import { formatSize } from '../sizes.ts';

interface Flags {
  readonly json?: boolean;
  readonly recursive?: boolean;
}

const jsonLines = '--json';
const oneALine = 'print one JSON object a line';
const inIt = 'from the root of the volume on';

/** `skerry volume`: which volumes there are, and what they hold, whether sandboxes have them or not. */
export function volumeCommand(): Command {
  const group = new Command('volume').description('list, make and remove volumes, and the files in them');
  /** A command of the group, and what it does with its arguments. */
  const add = (
    command: Command,
    act: (words: readonly string[], flags: Flags, open: (name: string) => Promise<Volume>) => Promise<void>,
  ) => {
    addConnectionOptions(command).action((...given: unknown[]) =>
      told(() => {
        const connection = connectionOf(command);
        return act(command.args, given.at(-2) as Flags, (name) => Volume.get(name, connection)); // its last but one
      }),
    );
    group.addCommand(command);
    return command;
  };

  const list = new Command('list').description('list the volumes, newest first').option(jsonLines, oneALine);
  add(list, async (_, { json }) => {
    const volumes = (await Array.fromAsync(Volume.list(connectionOf(list)))).map(({ info }) => info);
    process.stdout.write(listing(volumes, { json, none: 'There is no volume.\n', table: formatVolumes }));
  });

  const create = new Command('create')
    .description('make a volume, or find the one of that name')
    .argument('<volume>', 'its name')
    .option('--json', 'print one JSON object');
  add(create, async ([name = ''], { json }) => {
    const { info } = await Volume.create(name, connectionOf(create));
    if (json) say(info);
    else process.stdout.write(`${info.name}\n`);
  });

  add(
    new Command('ls')
      .description('list what is in a directory of a volume')
      .argument('<volume>', 'its name')
      .argument('[path]', inIt, '/')
      .option('-r, --recursive', 'also what is further down')
      .option(jsonLines, oneALine),
    async ([name = '', path = '/'], { recursive = false, json }, open) => {
      const entries = await (await open(name)).files(path, { recursive });
      if (json) for (const entry of entries) say(entry);
      else process.stdout.write(formatEntries(entries));
    },
  );

  add(
    new Command('put')
      .description('copy a file or a directory into a volume; what is there already is replaced')
      .argument('<volume>', 'its name')
      .argument('<from>', 'a path here, or - for what is piped in')
      .argument('[path]', `${inIt}; with / at its end the directory that it goes into`, '/'),
    async ([name = '', from = '', path = '/'], _, open) => putIntoVolume(await open(name), from, path),
  );

  add(
    new Command('get')
      .description('copy a file or a directory out of a volume')
      .argument('<volume>', 'its name')
      .argument('<path>', inIt)
      .argument(
        '[to]',
        'a path here, or - to print it; what is copied goes into a directory that is there',
        '.',
      ),
    async ([name = '', path = '', to = '.'], _, open) => getFromVolume(await open(name), path, to),
  );

  add(
    new Command('cp')
      .description('copy files within a volume')
      .argument('<volume>', 'its name')
      .argument('<from...>', `paths ${inIt}, and where they go`)
      .option('-r, --recursive', 'directories too'),
    async ([name = '', ...paths], { recursive = false }, open) => {
      const to = paths.pop() ?? '';
      await (await open(name)).copy(paths, to, { recursive });
    },
  );

  add(
    new Command('rm')
      .description('remove a file or a directory of a volume')
      .argument('<volume>', 'its name')
      .argument('<path>', inIt)
      .option('-r, --recursive', 'a directory with what is in it'),
    async ([name = '', path = ''], { recursive = false }, open) =>
      (await open(name)).remove(path, { recursive }),
  );

  add(
    new Command('rename')
      .description('give a volume another name; sandboxes that have it keep it')
      .argument('<volume>', 'its name')
      .argument('<name>', 'the new one'),
    async ([name = '', to = ''], _, open) => (await open(name)).rename(to),
  );

  add(
    new Command('delete')
      .description('remove volumes and all that they hold')
      .argument('<volume...>', 'their names'),
    async (names, _, open) => {
      // All are known before the first one goes.
      for (const volume of await Promise.all(names.map(open))) await volume.delete();
    },
  );
  return group;
}

const say = (object: object): void => void process.stdout.write(`${JSON.stringify(object)}\n`);

const formatVolumes = (volumes: readonly VolumeInfo[]): string =>
  formatColumns([
    ['VOLUME', 'CREATED'],
    ...volumes.map(({ name, createdAt }) => [printable(name), createdAt]),
  ]);

const formatEntries = (entries: readonly VolumeFile[]): string =>
  formatColumns([
    ['TYPE', 'SIZE', 'CHANGED', 'PATH'],
    ...entries.map(({ type, size, modifiedAt, path }) => [
      type,
      type === 'file' ? formatSize(size) : '-',
      modifiedAt,
      printable(path),
    ]),
  ]);
