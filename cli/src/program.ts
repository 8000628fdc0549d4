/** What makes a command line of commands, and runs it. Results go to standard output, everything else to standard error. */

import { Command, CommanderError, Help, type Option } from 'commander';
import { outliveReaders } from '../../connect/src/closed-output.ts';
import { SkerryError } from '../../server/src/local-caller.ts';
import packageJson from '../package.json' with { type: 'json' };
import { CliError, ExitStatus } from './cli-error.ts';
import { examples } from './examples.ts';

/** What makes each command, by its word. Only the one that is called is loaded: the whole takes longer than most of them run. */
export type CommandMakers = Readonly<Record<string, () => Promise<Command>>>;

/** In which order the help lists them, under which headings. */
const groups: readonly (readonly [heading: string, words: readonly string[]])[] = [
  ['Sandboxes:', ['run', 'exec', 'shell', 'ls', 'logs', 'cp', 'stop', 'rm', 'events', 'stats', 'top']],
  [
    'Copies of sandboxes, and sandboxes that wait:',
    ['snapshot', 'fork', 'checkpoint', 'rollback', 'suspend', 'warm'],
  ],
  ['What sandboxes have:', ['image', 'volume', 'secret', 'app']],
  [
    'The server of this machine:',
    [
      'up',
      'down',
      'restart',
      'status',
      'doctor',
      'install',
      'uninstall',
      'disk',
      'prune',
      'backup',
      'restore',
      'move-records',
    ],
  ],
  ['Who uses it, and how:', ['env', 'token', 'environment', 'ca', 'connect', 'mcp', 'completion']],
];

/**
 * The command line. It throws instead of ending the process.
 * @param word where it is the name of a command, the others are left out; by default all are there
 */
export async function programOf(commands: CommandMakers, word?: string): Promise<Command> {
  const program = new Command('skerry')
    .description(
      'Sandboxes for untrusted code on your own machines: by this command, by an SDK, and for the official Modal clients.',
    )
    .version(packageJson.version)
    .addHelpCommand(helpCommand())
    .enablePositionalOptions()
    .showHelpAfterError('(--help shows what there is)')
    .addHelpText(
      'after',
      `
\`skerry COMMAND --help\` says what each does and takes, with examples. A first one: skerry run --python 3.12 -- python3 -c 'print(6 * 7)'
They find the server of this machine by its data directory. SKERRY_URL and SKERRY_TOKEN name that of another one, for the commands on sandboxes and what these have.

Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 the server is not running.`,
    );
  const one = word !== undefined && Object.hasOwn(commands, word) ? commands[word] : undefined;
  if (one) program.addCommand(await one());
  else
    for (const [heading, words] of groups) {
      for (const each of words) {
        const make = commands[each];
        if (make) program.addCommand((await make()).helpGroup(heading));
      }
    }
  const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];
  for (const command of all(program)) {
    command.exitOverride().configureHelp({ optionDescription });
    const lines = examples[pathOf(command)];
    if (lines) command.addHelpText('after', `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`);
  }
  return program;
}

/** Without what says nothing: that a list has nothing in it where nothing was given. */
const optionDescription = (option: Option): string =>
  new Help().optionDescription(option).replace(/ ?\(default: \[\]\)$/, '');

/** Commander has one, but under a heading of its own. */
const helpCommand = (): Command =>
  new Command('help')
    .argument('[command]')
    .description('what a command does and takes, as its --help')
    .helpGroup(groups.at(-1)?.[0] ?? '');

/** The words that call it, without `skerry`. */
const pathOf = (command: Command): string =>
  command.parent ? `${pathOf(command.parent)} ${command.name()}`.trim() : '';

/** Runs the command line and returns the exit status. @param others commands that are known and not here, and where they are */
export async function runProgram(
  commands: CommandMakers,
  argv: readonly string[],
  others?: { readonly elsewhere: readonly string[]; readonly where: string },
): Promise<number> {
  outliveReaders();
  try {
    const [word] = argv;
    if (word !== undefined && others?.elsewhere.includes(word)) {
      return fail(`\`skerry ${word}\` ${others.where}.`, ExitStatus.usage);
    }
    const program = await programOf(commands, word);
    await program.parseAsync([...argv], { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    // Commander has printed its own words; asking for help or the version is no failure.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : ExitStatus.usage;
    if (error instanceof CliError) return fail(error.message, error.exitStatus);
    if (error instanceof SkerryError) {
      return fail(error.message, error.code === 'invalid-argument' ? ExitStatus.usage : ExitStatus.failed);
    }
    return fail(error instanceof Error ? (error.stack ?? error.message) : String(error), ExitStatus.failed);
  }
}

function fail(message: string, status: number): number {
  process.stderr.write(`skerry: ${message}\n`);
  return status;
}
